%% Wrong arguments for exported functions, made from their specs: each argument in turn is
%% replaced by terms of `wrong/0', the others being what the spec asks for, and then all are drawn
%% at random. Runs in a VM of its own, so that a crash is a failed case; what was called last is
%% in a file then.
-module(fuzz_helpers).

-export([exports/1, run/1, passes/3, wrong/0]).

%% A call that takes longer hangs.
-define(LONGEST, 5_000).
%% How often all arguments are drawn at random.
-define(DRAWN, 10).

%% What is called, how, and what is right: `samples' has terms for types that are no built-in
%% ones, `accepts' says whether an outcome is right, `survives' whether all is well after a call:
%% `true', or what is wrong.
-type options() :: #{functions := [mfa()],
                     samples := #{{module() | builtin | annotated, atom()} => fun(() -> term())},
                     leaves_out := fun((mfa(), [term()]) -> boolean()),
                     accepts := fun((mfa(), outcome()) -> boolean()),
                     survives := fun(() -> true | term()),
                     progress := file:filename(),
                     seed := integer()}.
-type outcome() :: {returned | error | exit | throw | killed | hangs, What :: term(),
                    Where :: term()}.

%% Calls `Module:Function(Progress)' in another VM, which returns what `run/1' does. A crash of
%% that VM fails with the call that it made last.
passes(Module, Function, Config) ->
    Progress = filename:join(proplists:get_value(priv_dir, Config), atom_to_list(Function)),
    {Calls, Failures} = in_a_vm(Module, Function, Progress),
    ct:log("~b calls~n~tp", [Calls, Failures]),
    Calls > 1_000 orelse ct:fail("only ~b calls", [Calls]),
    Failures =:= [] orelse ct:fail("~b of ~b calls, of which:~n~ts",
                                   [length(Failures), Calls,
                                    [io_lib:format("~0tP~n", [Failure, 60])
                                     || Failure <- lists:sublist(Failures, 20)]]).

in_a_vm(Module, Function, Progress) ->
    {ok, Vm, _Node} = test_helpers:start_peer(#{connection => standard_io}),
    try
        peer:call(Vm, Module, Function, [Progress], 150_000)
    catch
        Class:Reason ->
            ct:fail("~p:~0p~nlast called: ~tp", [Class, Reason, file:read_file(Progress)])
    after
        stop_vm(Vm)
    end.

%% It may have ended by itself.
stop_vm(Vm) ->
    try peer:stop(Vm) catch exit:_ -> ok end.

%% What a module exports and anybody may call, with arguments.
-spec exports(module()) -> [mfa()].
exports(Module) ->
    Callbacks = callbacks(Module),
    [{Module, Function, Arity} || {Function, Arity} <- lists:sort(Module:module_info(exports)),
                                  Arity > 0, Function =/= module_info,
                                  not lists:member({Function, Arity}, Callbacks)].

callbacks(Module) ->
    Behaviours = lists:append([Value || {behaviour, Value} <- Module:module_info(attributes)]),
    lists:append([Behaviour:behaviour_info(callbacks) || Behaviour <- Behaviours]).

%% The calls whose outcome isn't right, and how many calls there were.
-spec run(options()) -> {Calls :: pos_integer(), [{module(), atom(), outcome() | tuple()}]}.
run(#{functions := Functions, seed := Seed} = Options) ->
    _ = rand:seed(exsss, Seed),
    Calls = [{MFA, Templates} || MFA <- Functions, Templates <- arguments(MFA, Options)],
    {length(Calls), [Failure || {MFA, Templates} <- Calls,
                                Failure <- [call(MFA, Templates, Options)], Failure =/= ok]}.

arguments({_, _, Arity} = MFA, Options) ->
    Types = types(MFA),
    [replaced(N, Wrong, Types, MFA, Options) || N <- lists:seq(1, Arity), Wrong <- some_wrong()]
    ++ [[drawn(Type, MFA, Options) || Type <- Types] || _ <- lists:seq(1, ?DRAWN)].

replaced(N, Wrong, Types, MFA, Options) ->
    [case I of
         N -> Wrong;
         _ -> {sample, Type, MFA, Options}
     end || {I, Type} <- lists:enumerate(Types)].

drawn(Type, MFA, Options) ->
    case rand:uniform(2) of
        1 -> lists:nth(rand:uniform(length(wrong())), wrong());
        2 -> {sample, Type, MFA, Options}
    end.

%% In a process of its own, which takes along what the call has left in it. Samples are made
%% there, when they are needed: what they stand for may be used up by the call, or belong to the
%% process.
call({Module, Function, _} = MFA, Templates,
     #{accepts := Accepts, survives := Survives} = Options) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit(outcome(MFA, Templates, Options)) end),
    Outcome = receive
                  {'DOWN', Monitor, process, Pid, {outcome, Result}} -> Result;
                  {'DOWN', Monitor, process, Pid, Reason} -> {killed, Reason, []}
              after ?LONGEST ->
                  Stack = process_info(Pid, current_stacktrace),
                  exit(Pid, kill),
                  {hangs, Stack, []}
              end,
    case {left_out =:= Outcome orelse Accepts(MFA, Outcome), Survives()} of
        {true, true} -> ok;
        {false, true} -> {Module, Function, Outcome};
        {_, Wrong} -> {Module, Function, {did_not_survive, Wrong, Outcome}}
    end.

outcome({Module, Function, Arity} = MFA, Templates,
        #{leaves_out := LeavesOut, progress := Progress}) ->
    Args = [made(Template) || Template <- Templates],
    Text = io_lib:format("~p:~p/~b ~0tP~n", [Module, Function, Arity, Args, 50]),
    %% Raw, because else it waits for a process that all share.
    ok = file:write_file(Progress, unicode:characters_to_binary(Text), [raw]),
    case LeavesOut(MFA, Args) of
        true -> {outcome, left_out};
        false -> {outcome, tried(Module, Function, Args)}
    end.

made({sample, Type, {Module, _, _}, #{samples := Samples}}) -> sample(Type, Module, Samples);
made(Wrong) -> Wrong.

tried(Module, Function, Args) ->
    try
        {returned, apply(Module, Function, Args), Args}
    catch
        Class:Reason:Stack -> {Class, Reason, {Args, lists:sublist(Stack, 3)}}
    end.

%% ------------------------------------------------------------------ terms

wrong() ->
    [undefined, '', a, true, infinity, [], <<>>, <<"x">>, <<255>>, <<1:3>>, 0, -1, 1 bsl 45,
     1 bsl 64,
     1.5, "text", [a | b], [<<255>>], [{a, 1}], {}, {a}, {a, b, c}, #{}, #{a => 1}, #{<<255>> => a},
     #{timeout => -1}, self(), dead(), make_ref(), fun() -> ok end, fun(_, _) -> ok end, far(pid),
     far(reference), hd(erlang:ports()), <<0:80_000>>, nested(2_000), lists:seq(1, 2_000),
     {bytes, 5}].

%% Two thirds of them, by the seed, for the time's sake: most functions have arguments of the same
%% kinds.
some_wrong() ->
    Wrong = wrong(),
    Shuffled = [Term || {_, Term} <- lists:keysort(1, [{rand:uniform(), Term} || Term <- Wrong])],
    lists:sublist(Shuffled, 2 * length(Wrong) div 3).

dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

%% Of a node that is none.
far(pid) ->
    binary_to_term(<<131, 88, 100, 0, 9, "far@far.x", 77:32, 0:32, 1:32>>);
far(reference) ->
    binary_to_term(<<131, 90, 1:16, 100, 0, 9, "far@far.x", 1:32, 77:32>>).

nested(Depth) ->
    lists:foldl(fun(_, Inner) -> [Inner] end, [], lists:seq(1, Depth)).

%% ------------------------------------------------------------------ specs

types({Module, Function, Arity}) ->
    [_ | _] = Forms = forms(Module),
    case [Clauses || {attribute, _, spec, {{F, A}, Clauses}} <- Forms,
                     F =:= Function, A =:= Arity] of
        [[First | _]] -> argument_types(First);
        [] -> lists:duplicate(Arity, any)
    end.

argument_types({type, _, bounded_fun, [Fun, Constraints]}) ->
    Bound = maps:from_list([{Name, Type}
                            || {type, _, constraint, [_, [{var, _, Name}, Type]]} <- Constraints]),
    [bound(Type, Bound) || Type <- argument_types(Fun)];
argument_types({type, _, 'fun', [{type, _, product, Types}, _]}) ->
    Types.

bound({var, _, Name}, Bound) -> maps:get(Name, Bound, any);
bound(Type, Bound) when is_tuple(Type) -> list_to_tuple(bound(tuple_to_list(Type), Bound));
bound(Types, Bound) when is_list(Types) -> [bound(Type, Bound) || Type <- Types];
bound(Other, _Bound) -> Other.

%% Kept where every process of the VM has it: each call is made in one of its own. Of a module of
%% OTP there may be none.
forms(Module) ->
    case persistent_term:get({?MODULE, Module}, none) of
        none ->
            Forms = case beam_lib:chunks(code:which(Module), [abstract_code]) of
                        {ok, {_, [{abstract_code, {raw_abstract_v1, Found}}]}} -> Found;
                        _ -> []
                    end,
            ok = persistent_term:put({?MODULE, Module}, Forms),
            Forms;
        Forms ->
            Forms
    end.

%% One of the terms of a type.
sample({ann_type, _, [{var, _, Name}, Type]}, Module, Samples) ->
    case {Type, Samples} of
        {{type, _, reference, _}, #{{annotated, Name} := Make}} -> Make();
        _ -> sample(Type, Module, Samples)
    end;
sample({paren_type, _, [Type]}, Module, Samples) -> sample(Type, Module, Samples);
sample({type, _, union, Types}, Module, Samples) ->
    sample(lists:nth(rand:uniform(length(Types)), Types), Module, Samples);
sample({type, _, tuple, Types}, Module, Samples) when is_list(Types) ->
    list_to_tuple([sample(Type, Module, Samples) || Type <- Types]);
sample({type, _, list, [Type]}, Module, Samples) -> [sample(Type, Module, Samples)];
sample({type, _, nonempty_list, [Type]}, Module, Samples) -> [sample(Type, Module, Samples)];
sample({type, _, map, Fields}, Module, Samples) when is_list(Fields) ->
    maps:from_list([{sample(Key, Module, Samples), sample(Value, Module, Samples)}
                    || {type, _, map_field_exact, [Key, Value]} <- Fields]);
sample({type, _, 'fun', [{type, _, product, Types}, _]}, _Module, _Samples) ->
    returning_ok(length(Types));
sample({type, _, Name, _}, Module, Samples) -> plain(Name, Module, Samples);
sample({Literal, _, Value}, _Module, _Samples) when Literal =:= atom; Literal =:= integer -> Value;
sample({remote_type, _, [{atom, _, Module}, {atom, _, Name}, _]}, _Module, Samples) ->
    named(Module, Name, Samples);
sample({user_type, _, Name, _}, Module, Samples) -> named(Module, Name, Samples);
sample(_Other, _Module, _Samples) -> a.

named(Module, Name, Samples) ->
    case Samples of
        #{{Module, Name} := Make} ->
            Make();
        #{} ->
            case [Type || {attribute, _, Kind, {N, Type, _}} <- forms(Module),
                          Kind =:= type orelse Kind =:= opaque, N =:= Name] of
                [Type] -> sample(Type, Module, Samples);
                [] -> a
            end
    end.

returning_ok(0) -> fun() -> ok end;
returning_ok(1) -> fun(_) -> ok end;
returning_ok(_) -> fun(_, _) -> ok end.

plain(pid, _Module, Samples) -> named(builtin, pid, Samples);
plain(reference, _Module, Samples) -> named(builtin, reference, Samples);
plain(timeout, _Module, _Samples) -> 20;
plain(binary, _Module, _Samples) -> <<"1">>;
plain(iodata, _Module, _Samples) -> <<"1">>;
plain(string, _Module, _Samples) -> "math";
plain(Atom, _Module, _Samples) when Atom =:= atom; Atom =:= module -> math;
plain(boolean, _Module, _Samples) -> true;
plain(nil, _Module, _Samples) -> [];
plain(list, _Module, _Samples) -> [];
plain(map, _Module, _Samples) -> #{};
plain(tuple, _Module, _Samples) -> {};
plain('fun', _Module, _Samples) -> fun() -> ok end;
plain(mfa, _Module, _Samples) -> {math, sqrt, 1};
plain(Number, _Module, _Samples)
  when Number =:= integer; Number =:= pos_integer; Number =:= non_neg_integer; Number =:= arity;
       Number =:= range; Number =:= number -> 1;
plain(_Other, _Module, _Samples) -> a.
