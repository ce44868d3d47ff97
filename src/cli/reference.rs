//! The help of all commands as a page of the book, and whether a command line is understood: for documents and their tests.
//!
//! Knows no command of either program. `egofx-train` compiles this file into its own command line.

use std::ffi::OsString;

use clap::{ColorChoice, Command};

/// The help of `command` and of all commands below it as one page of Markdown: a heading for each, and what `--help` prints.
pub fn markdown(command: &Command) -> String {
    let mut command = command.clone().term_width(100).disable_help_subcommand(true).color(ColorChoice::Never);
    command.build();
    let mut page = format!("# {}\n", command.get_name());
    describe(&command, 2, &mut page);
    page
}

fn describe(command: &Command, level: usize, page: &mut String) {
    let visible = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let mut own = command.clone();
    let help = own.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    *page += &format!("\n```text\n{}\n```\n", lines.join("\n").trim_end());
    for below in command.get_subcommands().filter(visible) {
        let name = below.get_bin_name().unwrap_or_else(|| below.get_name());
        *page += &format!("\n{} {name}\n", "#".repeat(level));
        describe(below, level + 1, page);
    }
}

/// Parses `arguments`, which follow the program's name, and runs nothing. Asking for help is understood.
///
/// # Errors
/// What the parser says against them.
pub fn check(command: Command, arguments: impl IntoIterator<Item = OsString>) -> Result<(), clap::Error> {
    let name = OsString::from(command.get_name());
    match command.try_get_matches_from(std::iter::once(name).chain(arguments)) {
        Err(error) if error.use_stderr() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn command() -> Command {
        let hidden = Command::new("hidden").hide(true);
        Command::new("tool")
            .subcommand(hidden)
            .subcommand(Command::new("run").arg(Arg::new("out").short('o').required(true)))
    }

    #[test]
    fn the_page_has_a_heading_for_each_command_that_is_shown() {
        let page = markdown(&command());
        assert!(page.starts_with("# tool\n\n```text\n") && page.contains("\n## tool run\n"), "{page}");
        assert!(page.contains("Usage: tool run") && !page.contains("hidden") && !page.contains("\u{1b}"), "{page}");
    }

    #[test]
    fn arguments_are_parsed_and_no_more() {
        let checked = |line: &str| check(command(), line.split(' ').map(OsString::from)).is_ok();
        assert!(checked("run -o x") && checked("run --help"));
        assert!(!checked("run") && !checked("run -o x -p") && !checked("walk"));
    }
}
