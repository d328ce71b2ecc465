%% What a caller wants of a request beyond its result: a sum of bits, by the names that they have in
%% native/py_nif. A test compares them.

%% An exception comes with its traceback.
-define(FLAG_TRACEBACK, 1).
%% What becomes of the request when its caller is gone. Without either, as the context's option
%% says.
-define(FLAG_FINISH_ON_CALLER_DOWN, 4).
-define(FLAG_INTERRUPT_ON_CALLER_DOWN, 8).
%% `None' is `nil', and a handle on an object the struct `Py.Object'.
-define(FLAG_ELIXIR, 16).
%% The result comes as a handle on an iterator.
-define(FLAG_STREAM, 32).
%% What objects in the result become that have no term: what they stand for; or the whole result one
%% handle. Without either, handles.
-define(FLAG_TERMS, 128).
-define(FLAG_OBJECT, 256).
%% Where the call may run: on its caller's scheduler, or in the queue only. Without either, as the
%% function is registered.
-define(FLAG_DIRECT, 512).
-define(FLAG_QUEUE, 1024).
