%% @private The boundary to the native library: one stub per NIF, and nothing else.
%%
%% Runs in the calling process. No function here blocks: calls enqueue, starting and stopping
%% answer by message. The library is loaded by the application when it starts, not when this
%% module is loaded, so that a missing libpython is an error with a name instead of a crash
%% report about on_load. Before that, stubs answer what is true of a system without Python: there
%% are no contexts.
-module(py_nif).

-export([load/0]).
-export([boot/2, run_atexit/0, version/0, build_executable/0, check_mode/1]).
-export([direct_register/2, direct_unregister/2, direct_list/0]).
-export([submit_sync/3, submit/2, submit_next/2, cancel/2, interrupt/1]).
-export([object_context/1, reference_context/1]).
-export([submit_async/2, submit_cast/3, cancel_request/1, request_is_settled/1, contexts/0]).
-export([process_ref/1, process_of_ref/1]).
-export([context_start/2, context_drain/1, context_close/2, context_kill/2, context_info/1]).
-export([submit_as_waiter/2, wait_for_capacity/3, cancel_wait/2, wake_next_waiter/1]).
-export([context_replace/3, context_take_over/2, quarantined/1]).
-export([pool_new/3, pool_close/1, pool_is_closed/1, pool_set/3, pool_drain_slot/2, pool_resize/2]).
-export([pool_context/1, pool_context/2, pool_route/1, pool_route/2, pool_contexts/1]).
-export([scheduler_id/0, hide/1, reveal/1, locate/3]).
-export([register_service/1, ack/4, set_callback_names/1, set_log_level/1, log_caught_up/0]).
-export([callback_new_ref/0, callback_worker_idle/2, callback_answer_and_idle/2,
         callback_worker_leave/1, callback_begin/1, callback_answer/2]).

-export_type([handle/0, hidden/0, pool/0, request/0, env/0, flags/0, key/0, seq/0, settings/0,
              callback_ref/0, in_flight/0, submitted/0, direct_phase/0]).

-nifs([boot/2, run_atexit/0, version/0, build_executable/0, check_mode/1, submit_sync/3,
       direct_register/2, direct_unregister/2, direct_list/0, submit/2, submit_next/2, cancel/2,
       interrupt/1, object_context/1, reference_context/1, context_start/2, submit_async/2,
       submit_cast/3, cancel_request/1, request_is_settled/1, contexts/0, process_ref/1,
       process_of_ref/1, context_drain/1, context_close/2, context_kill/2, context_info/1,
       context_replace/3, context_take_over/2, quarantined/1, pool_new/3, pool_close/1,
       pool_is_closed/1, submit_as_waiter/2, wait_for_capacity/3, cancel_wait/2,
       wake_next_waiter/1, pool_set/3, pool_drain_slot/2, pool_resize/2, pool_context/1,
       pool_context/2, pool_route/1, pool_route/2, pool_contexts/1, scheduler_id/0, hide/1,
       reveal/1, locate/3, register_service/1, ack/4, set_callback_names/1, set_log_level/1,
       log_caught_up/0, callback_new_ref/0, callback_worker_idle/2, callback_answer_and_idle/2,
       callback_worker_leave/1, callback_begin/1, callback_answer/2]).

-opaque handle() :: reference().
%% The native half of a context process.
-type hidden() :: reference().
%% Stands for text that no report is to show.
-opaque pool() :: reference().
%% The slots of a pool.
-opaque callback_ref() :: reference().
%% A call from Python that waits for its answer.
-opaque in_flight() :: reference().
%% What a native thread has sent and nobody has dealt with yet.
-type seq() :: non_neg_integer().
%% Number of a request within its context.
-type key() :: reference() | {reference(), pos_integer()}.
%% What an answer is known by.
-type env() :: none | process | pid() | reference().
%% Whose globals: the context's own, those of the calling process there or of the process that it
%% works for, or a namespace that was made for it.
-type request() ::
    {call, key(), flags(), name(), name(), Args :: list(), Kwargs :: map(), env()}
  | {map, key(), flags(), name(), name(), ListOfArgs :: [list()], Kwargs :: map(), env()}
  | {eval, key(), flags(), Source :: binary(), Locals :: map(), env()}
  | {exec, key(), flags(), Source :: binary(), env()}
  | {call_method, key(), flags(), Object :: term(), name(), Args :: list(), Kwargs :: map()}
  | {getattr, key(), flags(), Object :: term(), name()}
  | {to_term, key(), flags(), Object :: term()}
  | {to_buffer, key(), flags(), Object :: term(), Share :: boolean()}
  | {stream_next, key(), flags(), Stream :: reference(), Max :: pos_integer()}
  | {stream_push, key(), flags(), Stream :: reference(), Max :: pos_integer(),
     Tag :: reference(), Consumer :: pid()}
  | {stream_close, key(), flags(), Stream :: reference()}
  | {gather, key(), flags(), Deferred :: [reference()]}
  | {new_env, key(), flags()}.
%% What a context can be asked; taken apart in native/py_nif/src/request/decode.rs. A pid at the end
%% is the process that the request is made for, and `erlang.self()' in Python.
-type flags() :: non_neg_integer().
%% What the caller wants beyond the result: a sum of bits, see py_request_flags.hrl.
-type submitted() :: seq() | {spin, seq()} | {error, term()}
                   | {ok, term()} | {done, Result :: term()} | {flush, Result :: term()}.
%% What became of a request whose caller waits: its number, or its result.
-type direct_phase() :: probation | direct
                      | {revoked, slow | waits | output | callback | coroutine}.
-type settings() :: #{max_depth := pos_integer(), spin_us := non_neg_integer(),
                      callback_depth := pos_integer(),
                      redirect_output := boolean(), quarantine_limit := pos_integer(),
                      logging := [{binary(), pos_integer()}],
                      variables := [{binary(), binary()}] | nil}.
%% Of the application environment, for the native side.
-type name() :: atom() | binary().

%% Another version of this module may not take over: the library, which Python runs in, can't be
%% loaded twice. The one that runs stays in force.
-on_load(no_upgrade/0).

-define(LOADED, '$py_nif_loaded').
-define(NOT_LOADED, erlang:nif_error({not_loaded, ?MODULE})).
%% What is true before the library is loaded. Written so that dialyzer doesn't take it for all that
%% the function can return.
-define(BEFORE_LOADING(Value), try ?NOT_LOADED catch error:_ -> Value end).

%% A reference that stands for a text.
-spec hide(binary()) -> hidden().
hide(_Text) -> ?NOT_LOADED.

-spec reveal(hidden()) -> binary().
reveal(_Hidden) -> ?NOT_LOADED.

%% Loads the library. Fine to call again.
-spec load() -> ok | {error, {load_failed | atom(), string()}}.
load() ->
    case erlang:load_nif(filename:join(priv_dir(), "py_nif"), runtime_version()) of
        ok -> persistent_term:put(?LOADED, true);
        {error, {reload, _}} -> ok;
        {error, _} = Error -> Error
    end.

-spec runtime_version() -> binary().
runtime_version() ->
    list_to_binary(erlang:system_info(version)).

-spec no_upgrade() -> ok | {error, {nif_upgrade_needs_a_restart, ?MODULE}}.
no_upgrade() ->
    case persistent_term:get(?LOADED, false) andalso erlang:module_loaded(?MODULE) of
        true -> {error, {nif_upgrade_needs_a_restart, ?MODULE}};
        false -> ok
    end.

-spec priv_dir() -> file:filename_all().
priv_dir() ->
    case code:priv_dir(py_context_router) of
        {error, bad_name} ->
            %% Not installed as an application: a bare `erl -pa ebin`.
            filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Dir ->
            Dir
    end.

%% Starts Python, or finds it running; then `{py_boot, Outcome}` is sent to the caller.
-spec boot(Executable :: binary() | undefined, settings()) -> ok.
boot(_Executable, _Settings) -> ?NOT_LOADED.

%% Runs what Python code has registered to be run at the end; then `py_atexit' is sent to the
%% caller.
-spec run_atexit() -> ok.
run_atexit() -> ?NOT_LOADED.

%% The linked Python's version, such as `<<"3.13.0">>'.
-spec version() -> binary().
version() -> ?NOT_LOADED.

%% The executable of the Python that the library was built with, if it is still there.
-spec build_executable() -> binary() | undefined.
build_executable() -> ?NOT_LOADED.

-spec check_mode(py_context:context_mode()) -> ok | {error, {unsupported_mode, atom(), binary()}}.
check_mode(_Mode) -> ?NOT_LOADED.

%% As `submit/2', by a caller that waits for the reply, for so many ms. `spin': the context has no
%% other caller, so that polling for the reply may be worth it. A call that may be dispatched
%% directly has been run; `flush': its output is still to be waited for. A result that is a large
%% dict may come as `{pairs, [{Key, Value}]}'.
-spec submit_sync(pid(), request(), timeout()) -> submitted().
submit_sync(_Context, _Request, _Timeout) -> ?BEFORE_LOADING({error, {context_died, noproc}}).

%% Permits calls of a function to be dispatched directly.
-spec direct_register(Module :: atom(), Func :: atom()) -> ok | system_limit.
direct_register(_Module, _Func) -> ?NOT_LOADED.

-spec direct_unregister(Module :: atom(), Func :: atom()) -> ok.
direct_unregister(_Module, _Func) -> ?NOT_LOADED.

%% The functions for which that is permitted, and how they do.
-spec direct_list() -> [{{Module :: atom(), Func :: atom()}, direct_phase()}].
direct_list() -> ?NOT_LOADED.

%% Submits a request to a context. Its reply is one message `{Ref, Result}'.
-spec submit(pid(), request()) -> seq() | {error, term()}.
submit(_Context, _Request) -> ?BEFORE_LOADING({error, {context_died, noproc}}).

%% As `submit/2', for the next part of a map of which one part has been accepted: also into a full
%% queue.
-spec submit_next(pid(), request()) -> seq() | {error, term()}.
submit_next(_Context, _Request) -> ?BEFORE_LOADING({error, {context_died, noproc}}).

%% Cancels a request. `true': no reply will come. `false': it has come, or is on its way.
-spec cancel(pid(), seq()) -> boolean().
cancel(_Context, _Seq) -> ?NOT_LOADED.

%% Submits a request to a context. The result comes as the message `{py_result, RequestId, Result}'.
-spec submit_async(pid(), request()) -> RequestId :: reference() | {error, term()}.
submit_async(_Context, _Request) -> ?BEFORE_LOADING({error, {context_died, noproc}}).

%% Submits a request to a context. Its result is dropped. If it fails, the process that is then
%% registered as `Reports', if there is one, gets `{py_cast, Caller, Request, {error, Reason}}'.
-spec submit_cast(pid(), request(), Reports :: atom()) ->
    RequestId :: reference() | {error, term()}.
submit_cast(_Context, _Request, _Reports) -> ?BEFORE_LOADING({error, {context_died, noproc}}).

%% Cancels a request by its id. `true': no message will come. `sending': it is on its way.
%% `sent': it was sent before.
-spec cancel_request(RequestId :: reference()) -> true | sending | sent.
cancel_request(_RequestId) -> ?BEFORE_LOADING(erlang:error(badarg)).

%% Whether nothing will be sent for a request any more.
-spec request_is_settled(RequestId :: reference()) -> boolean().
request_is_settled(_RequestId) -> ?BEFORE_LOADING(erlang:error(badarg)).

%% A reference that stands for a process.
-spec process_ref(pid()) -> reference().
process_ref(_Pid) -> ?BEFORE_LOADING(make_ref()).

-spec process_of_ref(reference()) -> pid().
process_of_ref(_ProcessRef) -> ?BEFORE_LOADING(erlang:error(badarg)).

%% All contexts, also those that are starting.
-spec contexts() -> [pid()].
contexts() -> ?BEFORE_LOADING([]).

%% As `submit/2', by a caller that was woken.
-spec submit_as_waiter(pid(), request()) -> seq() | {error, term()}.
submit_as_waiter(_Context, _Request) -> ?NOT_LOADED.

%% After a refusal. `refuse': the context lets no caller wait. `capacity': there is some by now.
%% `wait': the caller gets one message `{Ref, capacity}', unless it cancels first. The id is 0 at
%% first, then the last one.
-spec wait_for_capacity(pid(), reference(), WaiterId :: non_neg_integer()) ->
    refuse | capacity | {wait, WaiterId :: pos_integer(), Ms :: non_neg_integer()}.
wait_for_capacity(_Context, _Ref, _WaiterId) -> ?NOT_LOADED.

%% `false': the message has come, or is on its way.
-spec cancel_wait(pid(), WaiterId :: pos_integer()) -> boolean().
cancel_wait(_Context, _WaiterId) -> ?NOT_LOADED.

%% The caller was woken and doesn't submit: the next waiter is woken.
-spec wake_next_waiter(pid()) -> ok.
wake_next_waiter(_Context) -> ?NOT_LOADED.

-spec interrupt(pid()) -> ok | not_running | undefined.
interrupt(_Context) -> ?BEFORE_LOADING(undefined).

%% The context of a handle on a Python object; `undefined` for any other term.
-spec object_context(term()) -> pid() | undefined.
object_context(_Term) -> ?BEFORE_LOADING(undefined).

%% The context of a handle or of an environment; `undefined` for any other term.
-spec reference_context(term()) -> pid() | undefined.
reference_context(_Term) -> ?BEFORE_LOADING(undefined).

%% Starts the thread of the calling process's context. Then `{py_context, Ref, Event}' is sent to
%% it: `started | {error, Reason}', `stuck' when a job of its should have ended long ago, and
%% `ended' when the thread is gone. The options are those of py_options with the pool's name or
%% `undefined', and everything that is to be run first.
-spec context_start(reference(),
                    #{preload := [binary()], pool := atom(), atom() => term()}) ->
    handle() | {error, term()}.
context_start(_Ref, _Options) -> ?NOT_LOADED.

-spec context_drain(handle()) -> ok.
context_drain(_Handle) -> ?NOT_LOADED.

-spec context_close(handle(), Reason :: term()) -> ok.
context_close(_Handle, _Reason) -> ?NOT_LOADED.

-spec context_kill(handle(), Reason :: term()) -> ok.
context_kill(_Handle, _Reason) -> ?NOT_LOADED.

%% Starts what is to take over from a context that is stuck; its events come with `Ref'.
-spec context_replace(handle(), Ref :: reference(), Preload :: [binary()]) ->
    handle() | not_stuck | {error, term()}.
context_replace(_Handle, _Ref, _Preload) -> ?NOT_LOADED.

%% Moves what waits and what comes to the replacement. `false': the old one has come back in time.
-spec context_take_over(handle(), Replacement :: handle()) -> boolean().
context_take_over(_Handle, _Replacement) -> ?NOT_LOADED.

%% How many threads of a pool are stuck (`undefined': of contexts that are in none).
-spec quarantined(atom()) -> non_neg_integer().
quarantined(_Pool) -> ?BEFORE_LOADING(0).

-spec context_info(pid()) -> map() | undefined.
context_info(_Context) -> ?BEFORE_LOADING(undefined).

%% `Schedulers' is how many the VM has, `Spreads' whether calls leave the contexts of their
%% scheduler for others that are less busy.
-spec pool_new(Size :: pos_integer(), Schedulers :: pos_integer(), Spreads :: boolean()) -> pool().
pool_new(_Size, _Schedulers, _Spreads) -> ?NOT_LOADED.

%% A process that takes over from one that was killed doesn't go on with a closed pool.
-spec pool_close(pool()) -> ok.
pool_close(_Pool) -> ?NOT_LOADED.

-spec pool_is_closed(pool()) -> boolean().
pool_is_closed(_Pool) -> ?NOT_LOADED.

-spec pool_set(pool(), Slot :: pos_integer(), pid()) -> ok.
pool_set(_Pool, _Slot, _Pid) -> ?NOT_LOADED.

%% The calling process is the context in that slot, and begins to stop.
-spec pool_drain_slot(pool(), Slot :: pos_integer()) -> ok.
pool_drain_slot(_Pool, _Slot) -> ?NOT_LOADED.

-spec pool_resize(pool(), Size :: pos_integer()) -> ok.
pool_resize(_Pool, _Size) -> ?NOT_LOADED.

%% The context for the current scheduler. `unknown': the VM's thread names are not what they were;
%% ask with the id.
-spec pool_context(pool()) -> pid() | none | unknown.
pool_context(_Pool) -> ?NOT_LOADED.

-spec pool_context(pool(), SchedulerId :: pos_integer()) -> pid() | none.
pool_context(_Pool, _SchedulerId) -> ?NOT_LOADED.

%% As `pool_context', but for a call that is left to the pool: if the scheduler's own context is
%% busy, that is another one, where the pool spreads.
-spec pool_route(pool()) -> pid() | none | unknown.
pool_route(_Pool) -> ?NOT_LOADED.

-spec pool_route(pool(), SchedulerId :: pos_integer()) -> pid() | none.
pool_route(_Pool, _SchedulerId) -> ?NOT_LOADED.

-spec pool_contexts(pool()) -> [pid()].
pool_contexts(_Pool) -> ?NOT_LOADED.

%% What `erlang:system_info(scheduler_id)' says, read natively.
-spec scheduler_id() -> pos_integer() | undefined.
scheduler_id() -> ?NOT_LOADED.

%% Source text stands in this file (UTF-8), beginning on this line: so tracebacks of it say from now
%% on. For what a program holds, not for text made up as it runs: of that there is no end.
-spec locate(binary(), File :: binary(), Line :: pos_integer()) -> ok.
locate(_Source, _File, _Line) -> ok.

%% The calling process does this for Python from now on; it gets the messages that are documented
%% with the service's own module.
-spec register_service(py_callbacks | py_sender | py_output | py_log) -> ok.
register_service(_Service) -> ?NOT_LOADED.

%% So much of what a native thread has sent has been dealt with.
-spec ack(in_flight(), Messages :: non_neg_integer(), Sends :: non_neg_integer(),
              Bytes :: non_neg_integer()) -> ok.
ack(_InFlight, _Messages, _Sends, _Bytes) -> ?NOT_LOADED.

%% The names that Python code can call, all of them, and whose conventions their arguments follow.
-spec set_callback_names([{binary(), erlang | elixir}]) -> ok.
set_callback_names(_Names) -> ?NOT_LOADED.

%% For a process that is to wait for a call. `enough': that many are idle.
-spec callback_new_ref() -> callback_ref() | enough.
callback_new_ref() -> ?NOT_LOADED.

%% The process is idle, and gets `{py_call, Name, Args}' when the reference is good for that call.
-spec callback_worker_idle(callback_ref(), pid()) -> ok.
callback_worker_idle(_CallbackRef, _Pid) -> ?NOT_LOADED.

%% Answers, and the calling process waits for the next call. `false': nothing was done, because
%% enough others do, or there is nothing to answer.
-spec callback_answer_and_idle(callback_ref(), {ok, term()} | tuple() | undefined) -> boolean().
callback_answer_and_idle(_CallbackRef, _Answer) -> ?NOT_LOADED.

%% The process that has the reference waits no more. `false': it didn't.
-spec callback_worker_leave(callback_ref()) -> boolean().
callback_worker_leave(_CallbackRef) -> ?NOT_LOADED.

%% The calling process is going to run the function.
-spec callback_begin(callback_ref()) -> ok.
callback_begin(_CallbackRef) -> ?NOT_LOADED.

%% Lets Python go on. The first answer counts.
-spec callback_answer(callback_ref(), {ok, term()} | tuple() | undefined) -> ok.
callback_answer(_CallbackRef, _Answer) -> ?NOT_LOADED.

%% What `logger' lets through: -1 (none) to 8 (all), else syslog's number of the level.
-spec set_log_level(-1..8) -> ok.
set_log_level(_Severity) -> ?NOT_LOADED.

%% The process that passes log events on is done with all that there were, in good time: jobs wait
%% for it again, if they have ceased to. How many events were dropped since it last said so.
-spec log_caught_up() -> non_neg_integer().
log_caught_up() -> ?NOT_LOADED.
