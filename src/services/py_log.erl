%% @private Hands Python's log events to `logger', with domain `[python]'.
%%
%% The handlers run in this process, one event after the other, so that no context waits for them
%% until it is far ahead. No event may ever end it, whatever Python code has put into one.
-module(py_log).

-behaviour(gen_server).

-export([start_link/0, report/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(LEVELS, {emergency, alert, critical, error, warning, notice, info, debug}).

%% A handler that takes longer, in ms, is slow.
-define(SLOW_HANDLER, 100).
%% Keys that mean something to `logger', its formatter, or Elixir's.
-define(RESERVED, [ansi_color, crash_reason, domain, error_logger, file, gl, line, logger_formatter,
                   mfa, pid, report_cb, time]).
%% Keys that a record has from the library.
-define(OWN, [context, exception, function, logger, stack_info, thread]).
%% The beginning of the year 9999, in microseconds: after that year formatters know no dates, and
%% where it ends depends on their time zone.
-define(MAX_TIME, 253_370_764_800_000_000).

-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% The report_cb of events that carry a Python exception.
-spec report(logger:report()) -> {io:format(), [term()]}.
report(#{event := {python, exception}, message := Message, traceback := Traceback}) ->
    {"~ts~n~ts", [Message, Traceback]}.

-spec init([]) -> {ok, undefined}.
init([]) ->
    %% Trapped, so that events that have come in are logged before the end.
    _ = process_flag(trap_exit, true),
    ok = publish_level(),
    ok = py_nif:register_service(py_log),
    {ok, undefined}.

-spec handle_call(term(), gen_server:from(), undefined) ->
    {reply, ok, undefined} | {noreply, undefined}.
%% All events that have come in before have been handed to `logger' when the answer comes.
handle_call(sync, _From, State) ->
    {reply, ok, State};
handle_call(_Request, _From, State) ->
    {noreply, State}.

-spec handle_cast(term(), undefined) -> {noreply, undefined}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), undefined) -> {noreply, undefined}.
handle_info({py_log, InFlight, Severity, Message, Meta, Caller, Context}, State) ->
    Began = erlang:monotonic_time(millisecond),
    ok = log_anyhow(Severity, Message, Meta, Caller, Context),
    Took = erlang:monotonic_time(millisecond) - Began,
    ok = py_nif:ack(InFlight, 1, 0, 0),
    ok = catch_up(Took, process_info(self(), message_queue_len)),
    {noreply, State};
handle_info({py_level, InFlight}, State) ->
    ok = publish_level(),
    ok = py_nif:ack(InFlight, 1, 0, 0),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% A job that logs waits for a slow handler, but not job after job: once one has waited too long,
%% jobs wait no more until the handlers are quick again and no event is left.
-spec catch_up(integer(), {message_queue_len, non_neg_integer()}) -> ok.
catch_up(Took, {message_queue_len, 0}) when Took < ?SLOW_HANDLER ->
    report_dropped(py_nif:log_caught_up());
catch_up(_Took, _Queue) ->
    ok.

-spec report_dropped(non_neg_integer()) -> ok.
report_dropped(0) ->
    ok;
report_dropped(Count) ->
    logger:warning(#{event => {py_log, dropped}, count => Count},
                   #{report_cb => fun py_error:report/1}).

%% Severities are what `logger' compares levels by.
-spec publish_level() -> ok.
publish_level() ->
    #{level := Level} = logger:get_primary_config(),
    py_nif:set_log_level(severity(Level)).

-spec severity(logger:level() | all | none) -> -1..8.
severity(none) -> -1;
severity(all) -> 8;
severity(Level) -> severity(Level, tuple_to_list(?LEVELS), 0).

-spec severity(logger:level(), [logger:level()], 0..7) -> 0..7.
severity(Level, [Level | _], Severity) -> Severity;
severity(Level, [_ | Levels], Severity) -> severity(Level, Levels, Severity + 1).

%% An event whose logging raises is logged as a plain term. If it ended this process, a few more in
%% a row would end the application.
-spec log_anyhow(non_neg_integer(), term(), term(), pid() | none, pid() | none) -> ok.
log_anyhow(Severity, Message, Meta, Caller, Context) ->
    try
        log(element(Severity + 1, ?LEVELS), Message, Meta, Caller, Context)
    catch
        _:_ -> event(error, {Severity, Message, Meta}, pids(Caller, Context, #{domain => [python]}))
    end.

-spec log(logger:level(), term(), map(), pid() | none, pid() | none) -> ok.
log(Level, Message, #{<<"exception">> := {Class, Text, Traceback}} = Given, Caller, Context)
  when is_binary(Message), is_binary(Class), is_binary(Text), is_binary(Traceback) ->
    Report = #{event => {python, exception}, message => Message, class => Class, text => Text,
               traceback => Traceback},
    Meta = metadata(maps:remove(<<"exception">>, Given), Caller, Context),
    event(Level, Report, Meta#{report_cb => fun ?MODULE:report/1});
log(Level, Message, Given, Caller, Context) ->
    event(Level, Message, metadata(Given, Caller, Context)).

-spec event(logger:level(), term(), map()) -> ok.
event(Level, Message, Meta) when is_binary(Message) ->
    logger:log(Level, "~ts", [Message], Meta);
event(Level, Report, Meta) when is_map(Report) ->
    logger:log(Level, Report, Meta);
event(Level, Message, Meta) ->
    logger:log(Level, "~tp", [Message], Meta).

-spec metadata(map(), pid() | none, pid() | none) -> map().
metadata(#{extra := Extra} = Given, Caller, Context) when is_map(Extra) ->
    %% A record's own attributes, which hide nothing of the library's.
    Known = maps:from_list([extra(Key, Value) || {Key, Value} <- maps:to_list(Extra)]),
    maps:merge(Known, metadata(maps:remove(extra, Given), Caller, Context));
metadata(Given, Caller, Context) ->
    Meta = maps:from_list([meta(Key, Value) || {Key, Value} <- maps:to_list(Given)]),
    pids(Caller, Context, Meta#{domain => [python]}).

%% Under a key of the library's own it stays text.
-spec extra(binary(), term()) -> {atom() | binary(), term()}.
extra(Key, Value) ->
    case meta(Key, Value) of
        {Name, _} when is_atom(Name) ->
            case lists:member(Name, ?OWN) orelse lists:member(Name, ?RESERVED) of
                true -> {Key, Value};
                false -> {Name, Value}
            end;
        Text ->
            Text
    end.

-spec pids(pid() | none, pid() | none, map()) -> map().
pids(none, none, Meta) -> Meta;
pids(none, Context, Meta) -> Meta#{context => Context, pid => Context};
pids(Caller, none, Meta) -> Meta#{pid => Caller};
pids(Caller, Context, Meta) -> Meta#{context => Context, pid => Caller}.

%% Handlers and formatters rely on what is under `logger''s own keys, and one that crashes is
%% removed: those take only what belongs there. A key that is no atom yet stays text.
-spec meta(binary(), term()) -> {atom() | binary(), term()}.
meta(<<"file">>, File) when is_binary(File) ->
    case unicode:characters_to_list(File) of
        Name when is_list(Name) -> {file, Name};
        _NoText -> {<<"file">>, File}
    end;
meta(<<"line">>, Line) when is_integer(Line), Line >= 0 ->
    {line, Line};
meta(<<"time">>, Time) when is_integer(Time), Time >= 0, Time < ?MAX_TIME ->
    {time, Time};
meta(<<"logger">>, Logger) ->
    {logger, Logger};
meta(<<"thread">>, Thread) ->
    {thread, Thread};
meta(<<"function">>, Function) ->
    {function, Function};
meta(Key, Value) ->
    try binary_to_existing_atom(Key) of
        Atom -> case lists:member(Atom, ?RESERVED) of
                    true -> {Key, Value};
                    false -> {Atom, Value}
                end
    catch
        error:_ -> {Key, Value}
    end.
