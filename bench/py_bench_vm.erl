%% Measures in a VM of its own: for figures that can be measured only once per VM, or that other
%% measurements would disturb (the start of Python, memory).
-module(py_bench_vm).

-export([call/3, main/0]).
-export([rss/0, threads/0]).

%% Calls `Module:Function(Args)' in a new VM. What that prints is lost.
-spec call(module(), atom(), [term()]) -> term().
call(Module, Function, Args) ->
    Paths = lists:append([["-pa", filename:dirname(code:which(M))]
                          || M <- [?MODULE, py_context_router]]),
    Request = base64:encode(term_to_binary({Module, Function, Args})),
    Port = open_port({spawn_executable, os:find_executable("erl")},
                     [{args, ["-noinput" | Paths]
                             ++ ["-s", "py_bench_vm", "main", "-extra", Request]},
                      binary, exit_status]),
    Answer = answer(Port, <<>>),
    [_, Result] = binary:split(Answer, <<"\nresult ">>),
    binary_to_term(base64:decode(string:trim(Result))).

-spec answer(port(), binary()) -> binary().
answer(Port, Sofar) ->
    receive
        {Port, {data, Data}} -> answer(Port, <<Sofar/binary, Data/binary>>);
        {Port, {exit_status, 0}} -> Sofar;
        {Port, {exit_status, Status}} -> exit({vm_ended, Status, Sofar})
    end.

%% In the new VM.
-spec main() -> no_return().
main() ->
    [Request] = init:get_plain_arguments(),
    {Module, Function, Args} = binary_to_term(base64:decode(Request)),
    Result = apply(Module, Function, Args),
    io:format("~nresult ~ts~n", [base64:encode(term_to_binary(Result))]),
    halt(0).

%% The resident memory of this OS process in bytes, without what Erlang's garbage occupies.
-spec rss() -> non_neg_integer().
rss() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    binary_to_integer(Pages) * 4096.

%% The number of its threads.
-spec threads() -> pos_integer().
threads() ->
    {ok, Tasks} = file:list_dir("/proc/self/task"),
    length(Tasks).
