%% @private Which Python functions go to which pool.
%%
%% One process writes (py_store); a look-up is made by the caller and asks no process.
%%
%% Names are kept as binaries, because they may come from data, and an atom once made is never
%% freed. Most look-ups are made with atoms: those that exist lead to the pool without being
%% turned into binaries.
-module(py_registry).

-export([start_link/0, register/3, unregister/2, lookup/2, list/0, forget/0]).

-export_type([name/0]).

-type name() :: atom() | binary().
%% Of a module or function; `_' as a function's stands for all of the module's.

-define(KEY, {py_context_router, registrations}).
%% All functions of a module.
-define(ALL, <<"_">>).

-type routes(Name) :: #{Name => #{Name => atom()}}.
%% Pools by module, then by function.

-record(registrations, {
    %% All of them.
    by_name = #{} :: routes(binary()),
    %% Those whose names were atoms when they were made.
    by_atom = #{} :: routes(atom()),
    %% The others. Their names may be atoms by now.
    others = #{} :: #{{binary(), binary()} => []}
}).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    py_store:start_link(?MODULE, store()).

-spec register(name(), name(), atom()) -> ok.
register(Module, Func, Pool) ->
    {M, F} = {text(Module), text(Func)},
    py_store:update(?MODULE, fun(Registrations) -> added(M, F, Pool, Registrations) end).

-spec unregister(name(), name()) -> ok.
unregister(Module, Func) ->
    {M, F} = {text(Module), text(Func)},
    py_store:update(?MODULE, fun(Registrations) -> removed(M, F, Registrations) end).

%% The pool for a function: its own registration, else its module's, else `default'.
-spec lookup(name(), name()) -> atom().
lookup(Module, Func) when is_atom(Module), is_atom(Func) ->
    case persistent_term:get(?KEY, none) of
        none ->
            default;
        #registrations{by_atom = #{Module := #{Func := Pool}}} ->
            Pool;
        #registrations{others = Others, by_name = Names} when map_size(Others) > 0 ->
            named(text(Module), Func, Names);
        #registrations{by_atom = #{Module := #{'_' := Pool}}} ->
            Pool;
        #registrations{} ->
            default
    end;
lookup(Module, Func) ->
    case persistent_term:get(?KEY, none) of
        none -> default;
        #registrations{by_name = Names} -> named(text(Module), Func, Names)
    end.

-spec named(binary(), name(), routes(binary())) -> atom().
named(Module, Func, Names) ->
    case Names of
        #{Module := Functions} ->
            Name = text(Func),
            case Functions of
                #{Name := Pool} -> Pool;
                #{?ALL := Pool} -> Pool;
                #{} -> default
            end;
        #{} ->
            default
    end.

%% All registrations. A name is an atom if there is one.
-spec list() -> [{{name(), name()}, atom()}].
list() ->
    #registrations{by_name = Names} = py_store:read(store()),
    lists:sort([{{shown(Module), shown(Func)}, Pool} || {Module, Functions} <- maps:to_list(Names),
                                                        {Func, Pool} <- maps:to_list(Functions)]).

-spec shown(binary()) -> name().
shown(Name) ->
    case atoms([Name]) of
        [Atom] -> Atom;
        none -> Name
    end.

%% When the application stops.
-spec forget() -> ok.
forget() ->
    py_store:forget(store()).

%% ------------------------------------------------------------------ inside

-spec store() -> py_store:store(#registrations{}).
store() ->
    #{key => ?KEY, empty => #registrations{}}.

-spec added(binary(), binary(), atom(), #registrations{}) -> #registrations{}.
added(Module, Func, Pool, All) ->
    #registrations{by_name = Names, by_atom = Atoms, others = Others} = All,
    Named = All#registrations{by_name = put_route(Module, Func, Pool, Names)},
    case atoms([Module, Func]) of
        [M, F] ->
            Named#registrations{by_atom = put_route(M, F, Pool, Atoms),
                                others = maps:remove({Module, Func}, Others)};
        none ->
            Named#registrations{others = Others#{{Module, Func} => []}}
    end.

-spec removed(binary(), binary(), #registrations{}) -> #registrations{}.
removed(Module, Func, All) ->
    #registrations{by_name = Names, by_atom = Atoms, others = Others} = All,
    Named = All#registrations{by_name = remove_route(Module, Func, Names),
                              others = maps:remove({Module, Func}, Others)},
    case atoms([Module, Func]) of
        [M, F] -> Named#registrations{by_atom = remove_route(M, F, Atoms)};
        none -> Named
    end.

-spec put_route(Name, Name, atom(), routes(Name)) -> routes(Name).
put_route(Module, Func, Pool, Routes) ->
    Routes#{Module => (maps:get(Module, Routes, #{}))#{Func => Pool}}.

-spec remove_route(Name, Name, routes(Name)) -> routes(Name).
remove_route(Module, Func, Routes) ->
    case maps:remove(Func, maps:get(Module, Routes, #{})) of
        None when map_size(None) =:= 0 -> maps:remove(Module, Routes);
        Left -> Routes#{Module => Left}
    end.

-spec text(name()) -> binary().
text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> Name.

%% The atoms of these names, if all of them exist. None is made.
-spec atoms([binary()]) -> [atom()] | none.
atoms(Names) ->
    try [binary_to_existing_atom(Name) || Name <- Names]
    catch error:_ -> none
    end.
