"""What platform, sysconfig and site say of this Python."""

import platform
import site
import sysconfig

print(platform.python_version(), platform.system(), platform.python_implementation())
print(
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    sysconfig.get_config_var("EXT_SUFFIX"),
)
print(site.ENABLE_USER_SITE, site.getsitepackages())
