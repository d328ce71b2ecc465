%% What functions say of their arguments.

-define(BADARG(Args, Cause),
        erlang:error(badarg, Args, [{error_info, #{module => py_error, cause => Cause}}])).
%% The longest that `receive' can wait, some 49 days; beyond it raises, with the request on its way.
-define(LONGEST, 16#ffffffff).
-define(IS_TIMEOUT(T),
        (T =:= infinity orelse (is_integer(T) andalso T >= 0 andalso T =< ?LONGEST))).
