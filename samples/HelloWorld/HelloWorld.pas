{ Prints one line. }
program HelloWorld;

begin
  WriteLn('Hello World, I am ToroV!');
end.
