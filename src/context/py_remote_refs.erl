%% @private What a result refers to when it leaves the node.
%%
%% On another node a handle on an object, or an environment, is a plain reference that keeps
%% nothing alive. So before a result travels, the processes of the contexts keep what is in it
%% for the process that it travels to, as long as that lives. Runs in the process that answers
%% for the other node.
-module(py_remote_refs).

-export([keep/2]).

%% Keeps what is in `Result' for `User', and returns it.
-spec keep(Result, User :: pid()) -> Result.
keep({ok, Value} = Result, User) ->
    lists:foreach(fun({Ref, Ctx}) -> py_context_server:keep_ref(Ctx, Ref, User) end,
                  ours(Value, [])),
    Result;
keep(Result, _User) ->
    Result.

%% All our references in a term, with the contexts they belong to.
-spec ours(term(), [{reference(), pid()}]) -> [{reference(), pid()}].
ours(Ref, Found) when is_reference(Ref) ->
    case py_nif:reference_context(Ref) of
        undefined -> Found;
        Ctx -> [{Ref, Ctx} | Found]
    end;
ours([Head | Tail], Found) ->
    ours(Tail, ours(Head, Found));
ours(Tuple, Found) when is_tuple(Tuple) ->
    ours(tuple_to_list(Tuple), Found);
ours(Map, Found) when is_map(Map) ->
    ours(maps:to_list(Map), Found);
ours(_Other, Found) ->
    Found.
