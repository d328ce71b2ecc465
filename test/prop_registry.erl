%% The registrations against a model: a map.
-module(prop_registry).

-include_lib("proper/include/proper.hrl").

-export([prop_registry_is_a_map/0]).

%% Whatever is registered and unregistered, under atoms or binaries, the registry says what a map
%% would. The application runs.
prop_registry_is_a_map() ->
    ?FORALL(Commands, list(command()),
            begin
                ok = clear(),
                Model = lists:foldl(fun run/2, #{}, Commands),
                conjunction([{list, equals(lists:sort(maps:to_list(Model)),
                                           py_context_router:list_pool_registrations())},
                             {lookups, equals([], wrong_lookups(Model))}])
            end).

command() ->
    oneof([{register, pool(), name()},
           {register, pool(), name(), name()},
           {unregister, name()},
           {unregister, name(), name()}]).

pool() ->
    oneof([default, io, ml]).

%% Few, so that they meet again; either form.
name() ->
    ?LET({Name, Form}, {oneof(names()), oneof([atom, binary])}, as(Form, Name)).

names() ->
    [math, 'os.path', 'Größe', '_'].

as(atom, Name) -> Name;
as(binary, Name) -> atom_to_binary(Name).

run({register, Pool, Module}, Model) ->
    ok = py_context_router:register_pool(Pool, Module),
    Model#{{atom(Module), '_'} => Pool};
run({register, Pool, Module, Func}, Model) ->
    ok = py_context_router:register_pool(Pool, Module, Func),
    Model#{{atom(Module), atom(Func)} => Pool};
run({unregister, Module}, Model) ->
    ok = py_context_router:unregister_pool(Module),
    maps:remove({atom(Module), '_'}, Model);
run({unregister, Module, Func}, Model) ->
    ok = py_context_router:unregister_pool(Module, Func),
    maps:remove({atom(Module), atom(Func)}, Model).

atom(Name) when is_atom(Name) -> Name;
atom(Name) -> binary_to_existing_atom(Name).

wrong_lookups(Model) ->
    [{Module, Func, Found, Expected}
     || Module <- names(), Func <- names(),
        Expected <- [expected(Module, Func, Model)],
        {M, F} <- [{Module, Func}, {atom_to_binary(Module), atom_to_binary(Func)}],
        Found <- [py_context_router:lookup_pool(M, F)],
        Found =/= Expected].

expected(Module, Func, Model) ->
    maps:get({Module, Func}, Model, maps:get({Module, '_'}, Model, default)).

clear() ->
    lists:foreach(fun({{Module, Func}, _}) ->
        ok = py_context_router:unregister_pool(Module, Func)
    end, py_context_router:list_pool_registrations()).
