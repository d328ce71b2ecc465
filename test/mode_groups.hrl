%% How the groups of a suite begin and end: those of `test_helpers:in_each_mode/1', one called
%% `remote' in which this VM is a distributed node, and others, which change nothing.

init_per_group(Mode, Config) when Mode =:= worker; Mode =:= subinterp; Mode =:= owngil ->
    [{mode, Mode} | Config];
init_per_group(remote, Config) ->
    [{mode, worker}, {distribution, test_helpers:start_distribution()} | Config];
init_per_group(_Group, Config) ->
    Config.

end_per_group(remote, Config) ->
    ok = test_helpers:stop_distribution(proplists:get_value(distribution, Config));
end_per_group(_Group, _Config) ->
    test_helpers:stop_all().
