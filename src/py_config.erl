%% The application environment, read once when the application starts.
%%
%% Only the keys that have an effect are known; a bad value stops the start and is named.
-module(py_config).

-export([check/0, value/1, log_levels/0]).

-export_type([key/0]).

-type key() :: python | max_depth | spin_us | traceback | callback_depth | redirect_output
             | quarantine_limit | sigchld | default_pool | pools | logging
             | copy_env.
%% `python': path of an executable or of a virtual environment, or `undefined' for the one that
%% the library was built with.
%% `max_depth': how many levels deep a value may be nested; default 1000.
%% `spin_us': how long an idle context waits awake for its next job, in µs, at most: less where that
%% has been in vain; default 20.
%% `traceback': whether exceptions come with their tracebacks, where the call doesn't say; default
%% false.
%% `callback_depth': how many calls from Python to Erlang may be waiting on one context, each made
%% by a job that runs while another waits; default 64.
%% `redirect_output': whether what Python code prints goes to its caller's group leader; default
%% true. Otherwise it goes to the VM's own standard output.
%% `sigchld': `default', or `leave' to change nothing: the VM ignores the signal that a child
%% process has ended, and Python's subprocess then never learns of it.
%% `default_pool': options of the pool `default' when it starts on first use; default `#{}'.
%% `pools': options by name, of pools that start with the application; default `#{}'.
%% `quarantine_limit': how many threads of a pool may be stuck in C code, left to themselves, before
%% the pool takes no new work; default 32.
%% `logging': levels of Python's loggers by their names, a map of binaries, strings or atoms to
%% levels of `logger', `all' or `none': `#{<<"urllib3">> => warning, <<"root">> => info}'. A logger
%% without one has its parent's, and the root logger follows `logger''s primary level. The logger
%% `asyncio' has `warning' unless the map says otherwise, because it logs each event loop as it is
%% made.
%% `copy_env': whether Python starts with the environment variables that the VM has by then, also
%% those that `os:putenv' has set, changed or taken away; default false: with those that the VM was
%% started with. Python starts once in the life of the VM, and so they are copied once.

%% How deep a conversion may go at most: what the stack of a context thread has room for.
-define(DEEPEST, 4000).
%% How deep calls may go at most, for the same reason.
-define(DEEPEST_CALLBACK, 200).

%% Python has `critical' where Erlang has three levels; from 1 on it shows everything.
-define(LEVELS, #{none => 100, emergency => 100, alert => 100, critical => 50, error => 40,
                  warning => 30, notice => 25, info => 20, debug => 10, all => 1}).

%% Checks every key.
-spec check() -> ok | {error, {bad_option, {atom(), term()}}}.
check() ->
    check([python, max_depth, spin_us, traceback, callback_depth, redirect_output,
           quarantine_limit, sigchld, default_pool, pools, logging, copy_env]).

-spec check([key()]) -> ok | {error, {bad_option, {atom(), term()}}}.
check([]) ->
    ok;
check([Key | Keys]) ->
    Value = value(Key),
    case is_valid(Key, Value) of
        true -> check(Keys);
        false -> {error, {bad_option, {Key, Value}}}
    end.

%% The value of a key, or its default.
-spec value(key()) -> term().
value(Key) ->
    application:get_env(py_context_router, Key, default(Key)).

-spec default(key()) -> term().
default(python) -> undefined;
default(max_depth) -> 1000;
default(spin_us) -> 20;
default(traceback) -> false;
default(quarantine_limit) -> 32;
default(callback_depth) -> 64;
default(redirect_output) -> true;
default(sigchld) -> default;
default(default_pool) -> #{};
default(pools) -> #{};
default(logging) -> #{};
default(copy_env) -> false.

-spec is_valid(key(), term()) -> boolean().
is_valid(python, undefined) -> true;
is_valid(python, Path) when is_binary(Path) -> is_binary(unicode:characters_to_binary(Path));
is_valid(python, Path) -> io_lib:printable_unicode_list(Path);
is_valid(max_depth, N) -> is_integer(N) andalso N > 0 andalso N =< ?DEEPEST;
is_valid(spin_us, N) -> is_integer(N) andalso N >= 0 andalso N =< 1000;
is_valid(traceback, Value) -> is_boolean(Value);
is_valid(quarantine_limit, N) -> is_integer(N) andalso N > 0 andalso N =< 10_000;
is_valid(callback_depth, N) -> is_integer(N) andalso N > 0 andalso N =< ?DEEPEST_CALLBACK;
is_valid(redirect_output, Value) -> is_boolean(Value);
is_valid(copy_env, Value) -> is_boolean(Value);
is_valid(sigchld, Value) -> Value =:= default orelse Value =:= leave;
is_valid(default_pool, Options) -> element(1, py_options:pool(Options)) =:= ok;
is_valid(pools, Pools) when is_map(Pools) ->
    lists:all(fun({Name, Options}) ->
                  py_options:pool_name(Name) =:= ok andalso is_valid(default_pool, Options)
              end, maps:to_list(Pools));
is_valid(pools, _) -> false;
is_valid(logging, Levels) when is_map(Levels) ->
    lists:all(fun({Name, Level}) ->
                  logger_name(Name) =/= error andalso is_map_key(Level, ?LEVELS)
              end, maps:to_list(Levels));
is_valid(logging, _) -> false.

%% The levels of Python's loggers, as Python's `logging' numbers them.
-spec log_levels() -> [{binary(), pos_integer()}].
log_levels() ->
    Given = maps:from_list([{logger_name(Name), Level}
                            || {Name, Level} <- maps:to_list(value(logging))]),
    [{Name, map_get(Level, ?LEVELS)}
     || {Name, Level} <- maps:to_list(maps:merge(#{<<"asyncio">> => warning}, Given))].

-spec logger_name(term()) -> binary() | error.
logger_name(Name) when is_atom(Name) ->
    atom_to_binary(Name);
logger_name(Name) ->
    try unicode:characters_to_binary(Name) of
        Text when is_binary(Text), Text =/= <<>> -> Text;
        _ -> error
    catch
        error:badarg -> error
    end.
