%% @private A timeout as a point in time, for what takes several steps.
%%
%% Pure functions for the calling process, in monotonic ms.
-module(py_deadline).

-export([from_timeout/1, left/1]).

-export_type([deadline/0]).

-include("py_check.hrl").

-type deadline() :: integer() | infinity.

-spec from_timeout(timeout()) -> deadline().
from_timeout(infinity) -> infinity;
from_timeout(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

%% What is left of the time, never more than `receive' can wait.
-spec left(deadline()) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> min(?MAX_TIMEOUT, max(0, Deadline - erlang:monotonic_time(millisecond))).
