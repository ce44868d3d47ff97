//! What both programs' command lines have in common: commands listed in groups, manual pages, colours.
//!
//! Knows no command of either. `egofx-train` compiles this file into its own command line.

use std::ffi::OsString;

use clap::{ColorChoice, Command, ValueEnum};

/// `command` with a help that lists its commands in `groups`, each under its title.
pub fn grouped(mut command: Command, groups: &[(&str, &[&str])]) -> Command {
    // Adds `help`.
    command.build();
    let (header, literal) = (*command.get_styles().get_header(), *command.get_styles().get_literal());
    let width = groups.iter().flat_map(|(_, names)| *names).map(|name| name.len()).max().unwrap_or_default();
    let mut list = String::new();
    for (title, names) in groups {
        list += &format!("{header}{title}:{header:#}\n");
        for name in *names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            list += &format!("  {literal}{name:<width$}{literal:#}  {}\n", about.trim_end_matches('.'));
        }
        list.push('\n');
    }
    command.help_template(format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}{header}Options:{header:#}\n\
         {{options}}{{after-help}}"
    ))
}

/// What `--color` says in `arguments`, for what is written before they are parsed: help, and errors in them.
pub fn color_asked(arguments: impl IntoIterator<Item = OsString>) -> ColorChoice {
    let mut arguments = arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned());
    let mut asked = ColorChoice::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => continue,
        };
        // A value that is none is refused by the parser.
        asked = value.and_then(|value| ColorChoice::from_str(&value, false).ok()).unwrap_or(asked);
    }
    asked
}

/// The manual pages of `command` and of all commands below it: names of files (`egofx-eval-nlq.1`) and their text in roff.
pub fn manual(command: &Command) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    let mut command = command.clone();
    // Gives the commands below their names in full: egofx-eval-nlq.
    command.build();
    let mut waiting = vec![command];
    while let Some(command) = waiting.pop() {
        let man = clap_mangen::Man::new(command.clone());
        let mut page = Vec::new();
        man.render(&mut page)?;
        pages.push((man.get_filename(), page));
        let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
        waiting.extend(below.cloned());
    }
    Ok(pages)
}

/// The commit of the program. Set by the Makefile; cargo compiles this file anew when it changes.
pub fn commit() -> &'static str {
    option_env!("EGOFX_COMMIT").filter(|commit| !commit.is_empty()).unwrap_or("not recorded")
}

/// A program's version, and below it the commit and the versions of what it runs `with`.
pub fn versions(program: &str, with: &[(&str, String)]) -> String {
    let mut text = format!("{program} {}\n", env!("CARGO_PKG_VERSION"));
    if !with.is_empty() {
        let lines =
            std::iter::once(("commit", commit())).chain(with.iter().map(|(what, version)| (*what, version.as_str())));
        text.extend(lines.map(|(what, version)| format!("{what:<14}{version}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_asked_for_in_either_form_and_anything_else_is_left_to_the_parser() {
        let asked = |line: &str| color_asked(line.split(' ').map(OsString::from));
        assert_eq!(asked("egofx plan"), ColorChoice::Auto);
        assert_eq!(asked("egofx plan --color never"), ColorChoice::Never);
        assert_eq!(asked("egofx --color=always plan"), ColorChoice::Always);
        assert_eq!(asked("egofx --color"), ColorChoice::Auto);
        assert_eq!(asked("egofx --color=green --colors never"), ColorChoice::Auto);
    }
}
