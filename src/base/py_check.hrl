%% Bad arguments, and what is a timeout.

%% `Args' are those of the function that was called from outside; see `py_error:badarg/3'.
-define(BADARG(Args, Cause), py_error:badarg({?MODULE, ?FUNCTION_NAME}, Args, Cause)).
%% The longest that `receive' can wait, some 49 days; beyond it raises, with the request on its way.
-define(MAX_TIMEOUT, 16#ffffffff).
-define(IS_TIMEOUT(T),
        (T =:= infinity orelse (is_integer(T) andalso T >= 0 andalso T =< ?MAX_TIMEOUT))).
