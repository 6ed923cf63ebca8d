{ Sends back what it receives on 127.0.0.1: Echo [PORT [CONNECTIONS]]. By default it listens on port 50000 and
  serves one connection after the other for ever; with CONNECTIONS it exits after so many. PORT 0 lets the system
  choose; the port is printed when it listens. }
program Echo;

uses
  Sockets;

const
  MsgNoSignal = $4000;

procedure Fail(const What: string);
begin
  WriteLn(StdErr, What, ': error ', SocketError);
  Halt(1);
end;

{ The number in the argument at Index, or Default where there is none. }
function Argument(Index: Integer; Default: LongInt): LongInt;
var
  Code: Integer;
begin
  Argument := Default;
  if ParamCount < Index then
    Exit;
  Val(ParamStr(Index), Argument, Code);
  if Code <> 0 then
  begin
    WriteLn(StdErr, ParamStr(Index), ': not a number');
    Halt(1);
  end;
end;

{ One connection until its end. }
procedure Serve(Connection: LongInt);
var
  Buffer: array[0..4095] of Byte;
  Got, Sent, Count: Int64;
begin
  repeat
    Got := fpRecv(Connection, @Buffer, SizeOf(Buffer), 0);
    Sent := 0;
    while Sent < Got do
    begin
      Count := fpSend(Connection, @Buffer[Sent], Got - Sent, MsgNoSignal);
      if Count < 0 then
        Exit;
      Sent := Sent + Count;
    end;
  until Got <= 0;
end;

var
  Address: TInetSockAddr;
  Size: TSockLen;
  Listener, Connection, Left, Yes: LongInt;

begin
  FillChar(Address, SizeOf(Address), 0);
  Address.sin_family := AF_INET;
  Address.sin_port := htons(Argument(1, 50000));
  Address.sin_addr := StrToNetAddr('127.0.0.1');
  Left := Argument(2, -1);
  Yes := 1;
  Size := SizeOf(Address);
  Listener := fpSocket(AF_INET, SOCK_STREAM, 0);
  if Listener < 0 then
    Fail('socket');
  if fpSetSockOpt(Listener, SOL_SOCKET, SO_REUSEADDR, @Yes, SizeOf(Yes)) < 0 then
    Fail('setsockopt');
  if fpBind(Listener, @Address, Size) < 0 then
    Fail('bind');
  if fpListen(Listener, 5) < 0 then
    Fail('listen');
  if fpGetSockName(Listener, @Address, @Size) < 0 then
    Fail('getsockname');
  WriteLn('listening on 127.0.0.1:', ntohs(Address.sin_port));
  Flush(Output);
  while Left <> 0 do
  begin
    Connection := fpAccept(Listener, nil, nil);
    if Connection < 0 then
      Fail('accept');
    Serve(Connection);
    CloseSocket(Connection);
    if Left > 0 then
      Left := Left - 1;
  end;
end.
