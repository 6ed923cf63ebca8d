{ Writes 'hola' to a file: WriteFile [PATH], by default /test. }
program WriteFile;

var
  Path: string;
  Target: Text;

begin
  Path := '/test';
  if ParamCount > 0 then
    Path := ParamStr(1);
  Assign(Target, Path);
  {$I-}
  Rewrite(Target);
  Write(Target, 'hola');
  Close(Target);
  {$I+}
  if IOResult <> 0 then
  begin
    WriteLn(StdErr, Path, ': cannot be written');
    Halt(1);
  end;
end.
