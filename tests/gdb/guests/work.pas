program work;
var
  total: longint;

function twice(n: longint): longint;
begin
  total := total + n;
  twice := n * 2;
end;

var
  i, r: longint;
begin
  for i := 1 to 4 do
    r := twice(i);
  writeln('total ', total, ' ', r);
end.
