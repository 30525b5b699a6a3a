//! The fixes as a shell script, with their undo.

use super::Group;

/// A script that applies the fixes, or with `undo` puts back what the checks saw.
pub(super) fn script(groups: &[Group]) -> String {
    let fixes: Vec<(&str, &str, &str)> = groups
        .iter()
        .flat_map(|group| &group.checks)
        .filter_map(|check| {
            let (apply, undo) = check.fix.as_ref()?.commands.as_ref()?;
            Some((check.id, apply.as_str(), undo.as_str()))
        })
        .collect();
    let apply: String = fixes.iter().map(|(id, apply, _)| format!("    {apply} # {id}\n")).collect();
    let undo: String = fixes.iter().rev().map(|(id, _, undo)| format!("    {undo} # {id}\n")).collect();
    format!(
        "#!/bin/sh\n# Written by ipc-bench doctor, which changes nothing itself. Run it as root;\n\
         # `sh fix.sh undo` puts back what was there when it was written.\nset -e\ncase \"${{1:-apply}}\" in\napply)\n{}    ;;\n\
         undo)\n{}    ;;\n*)\n    echo \"usage: $0 [apply|undo]\" >&2\n    exit 2\n    ;;\nesac\n",
        if apply.is_empty() { "    : # nothing to change\n".to_owned() } else { apply },
        if undo.is_empty() { "    :\n".to_owned() } else { undo },
    )
}
