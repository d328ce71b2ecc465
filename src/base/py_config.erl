%% @private The application environment, read once when the application starts.
%%
%% Runs in the process that starts the application. A key without an effect is reported in the
%% log, and a bad value stops the start and is named. As Elixir's configuration has it, `nil' is
%% a key that is not set, and a keyword list is a map.
-module(py_config).

-export([check/0, value/1, log_levels/0]).

-export_type([key/0]).

-type key() :: python | max_depth | spin_us | callback_depth | redirect_output
             | quarantine_limit | sigchld | default_pool | pools | logging
             | copy_env.
%% `python': path of an executable or of a virtual environment, or `undefined' for the one that
%% the library was built with.
%% `max_depth': how many levels deep a value may be nested; default 1000.
%% `spin_us': how long an idle context waits awake for its next job, in µs, at most: less where that
%% has been in vain; default 20.
%% `callback_depth': how many calls from Python to Erlang may be waiting on one context, each made
%% by a job that runs while another waits; default 64.
%% `redirect_output': whether what Python code prints goes to its caller's group leader; default
%% true. Otherwise it goes to the VM's own standard output.
%% `sigchld': `default', or `leave' to change nothing: the VM ignores the signal that a child
%% process has ended, and Python's subprocess then never learns of it.
%% `default_pool': options of the pool `default' when it starts on first use; default `#{}'.
%% `pools': options by name, of pools that start with the application; default `#{}'.
%% `quarantine_limit': how many threads of a pool may be stuck in C code, abandoned, before
%% the pool takes no new work; default 32.
%% `logging': levels of Python's loggers by their names, a map of binaries, strings or atoms to
%% levels of `logger', `all' or `none': `#{<<"urllib3">> => warning, <<"root">> => info}'. A logger
%% without one has its parent's, and the root logger follows `logger''s primary level. The logger
%% `asyncio' has `warning' unless the map says otherwise, because it logs each event loop as it is
%% made.
%% `copy_env': whether Python starts with the environment variables that the VM has by then, also
%% those that `os:putenv' has set, changed or taken away; default false: with those that the VM was
%% started with. Python starts once in the life of the VM, and so they are copied once.

%% A new key also needs a default in py_defaults, a line above, one in `is_valid/2', and
%% docs/settings.md.

%% How deep a conversion may go at most, because a context thread's stack is bounded.
-define(MAX_DEPTH, 4000).
%% How deep calls may go at most, for the same reason.
-define(MAX_CALLBACK_DEPTH, 200).

%% Python has `critical' where Erlang has three levels; from 1 on it shows everything.
-define(LEVELS, #{none => 100, emergency => 100, alert => 100, critical => 50, error => 40,
                  warning => 30, notice => 25, info => 20, debug => 10, all => 1}).

%% Checks every key.
-spec check() -> ok | {error, {bad_option, {atom(), term()}}}.
check() ->
    Known = py_defaults:application(),
    ok = report_unknown([Key || {Key, _} <- application:get_all_env(py_context_router),
                                not is_map_key(Key, Known), Key =/= included_applications]),
    check(lists:sort(maps:keys(Known))).

-spec check([key()]) -> ok | {error, {bad_option, {atom(), term()}}}.
check([]) ->
    ok;
check([Key | Keys]) ->
    Value = value(Key),
    case is_valid(Key, Value) of
        true -> check(Keys);
        false -> {error, {bad_option, {Key, culprit(Key, Value)}}}
    end.

-spec report_unknown([atom()]) -> ok.
report_unknown([]) ->
    ok;
report_unknown(Keys) ->
    logger:warning(#{event => {py_config, unknown_keys}, unknown => lists:sort(Keys),
                     known => lists:sort(maps:keys(py_defaults:application()))},
                   #{report_cb => fun py_error:report/1}).

%% The value of a key, or its default.
-spec value(key()) -> term().
value(Key) ->
    case application:get_env(py_context_router, Key) of
        {ok, Set} when Set =/= nil -> normal(Key, Set);
        _NotSet -> maps:get(Key, py_defaults:application())
    end.

-spec normal(key(), term()) -> term().
normal(default_pool, Options) ->
    as_map(Options);
normal(pools, Pools) ->
    case as_map(Pools) of
        Map when is_map(Map) -> maps:map(fun(_Name, Options) -> as_map(Options) end, Map);
        Other -> Other
    end;
normal(logging, Levels) ->
    as_map(Levels);
normal(_Key, Value) ->
    Value.

%% A keyword list as a map, unless it has a key twice: one of the values would be lost.
-spec as_map(term()) -> term().
as_map(List) when is_list(List) ->
    try maps:from_list(List) of
        Map when map_size(Map) =:= length(List) -> Map;
        _KeyTwice -> List
    catch
        error:_ -> List
    end;
as_map(Other) ->
    Other.

-spec is_valid(key(), term()) -> boolean().
is_valid(python, undefined) -> true;
is_valid(python, Path) when Path =:= <<>>; Path =:= "" -> false;
is_valid(python, Path) when is_binary(Path) -> is_binary(unicode:characters_to_binary(Path));
is_valid(python, Path) -> io_lib:printable_unicode_list(Path);
is_valid(max_depth, N) -> is_integer(N) andalso N > 0 andalso N =< ?MAX_DEPTH;
is_valid(spin_us, N) -> is_integer(N) andalso N >= 0 andalso N =< 1000;
is_valid(quarantine_limit, N) -> is_integer(N) andalso N > 0 andalso N =< 10_000;
is_valid(callback_depth, N) -> is_integer(N) andalso N > 0 andalso N =< ?MAX_CALLBACK_DEPTH;
is_valid(redirect_output, Value) -> is_boolean(Value);
is_valid(copy_env, Value) -> is_boolean(Value);
is_valid(sigchld, Value) -> Value =:= default orelse Value =:= leave;
is_valid(default_pool, Options) -> element(1, py_options:pool(Options)) =:= ok;
is_valid(pools, Pools) -> is_map(Pools) andalso bad_pools(Pools) =:= [];
is_valid(logging, Levels) when is_map(Levels) ->
    lists:all(fun({Name, Level}) ->
                  logger_name(Name) =/= error andalso is_map_key(Level, ?LEVELS)
              end, maps:to_list(Levels));
is_valid(logging, _) -> false.

-spec bad_pools(map()) -> [{term(), term()}].
bad_pools(Pools) ->
    [Pool || {Name, Options} = Pool <- lists:sort(maps:to_list(Pools)),
             py_options:pool_name(Name) =/= ok orelse not is_valid(default_pool, Options)].

%% What is bad of a value. The rest of a pool's options may hold secrets, and this goes into a
%% report.
-spec culprit(key(), term()) -> term().
culprit(default_pool, Options) when is_map(Options) ->
    {error, {bad_option, {Key, Value}}} = py_options:pool(Options),
    #{Key => Value};
culprit(pools, Pools) when is_map(Pools) ->
    [{Name, Options} | _] = bad_pools(Pools),
    case py_options:pool_name(Name) of
        ok -> #{Name => culprit(default_pool, Options)};
        {error, _} -> #{Name => #{}}
    end;
culprit(_Key, Value) ->
    Value.

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
