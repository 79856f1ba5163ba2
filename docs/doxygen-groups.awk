# SPDX-License-Identifier: MIT
# Input filter of docs/Doxyfile: a constant in a named group (@name ... @{ to @}) that has no comment
# of its own is documented by the group's name. What stands outside a group stays bare, and Doxygen
# then calls it undocumented.
/@name / { title = $0; sub(/.*@name /, "", title); sub(/ *\*\/ *$/, "", title) }
/@\{/ { inside = 1 }
/@\}/ { inside = 0 }
inside && /^#define / && !/\\$/ && !/\/\*\*</ && !(before !~ /^#define/ && before ~ /\*\/ *$/ && before !~ /@\{/) {
    $0 = $0 " /**< " title " */"
}
{ before = $0; print }
