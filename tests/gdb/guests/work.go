package main

import (
	"fmt"
	"sync"
)

type Point struct{ X, Y int }

//go:noinline
func work(n int, p *Point) int {
	p.X += n
	return p.X * 2
}

func main() {
	var wg sync.WaitGroup
	points := make([]Point, 4)
	for i := range points {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			for k := 0; k < 10; k++ {
				work(i, &points[i])
			}
		}(i)
	}
	wg.Wait()
	fmt.Println("total", work(5, &Point{1, 2}), points[3].X)
}
