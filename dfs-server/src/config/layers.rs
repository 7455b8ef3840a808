//! Puts the settings file below flags and environment: what neither gave is taken from the file, as if it had
//! been typed, so that one parser checks every value. `main` calls it; it knows no setting by name.

use super::Fatal;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use std::ffi::OsString;
use std::path::Path;

/// Deeds, not settings: they are typed, never left lying in a file.
const DEEDS: [&str; 4] = ["config", "print-config", "init", "help"];

/// The matches of `command` for `typed` (program name first) with the file's settings below them.
pub fn matches(command: &Command, typed: Vec<OsString>) -> Result<ArgMatches, Fatal> {
    let strict = |all: Vec<OsString>| command.clone().try_get_matches_from(all);
    let first = lenient(command).try_get_matches_from(&typed);
    let file = first.as_ref().ok().and_then(|first| {
        let (role, own) = first.subcommand()?;
        Some((role, own, own.get_one::<std::path::PathBuf>("config")?))
    });
    let Some((role, own, path)) = file else {
        return Ok(strict(typed).unwrap_or_else(|e| e.exit()));
    };
    let known = command
        .find_subcommand(role)
        .ok_or_else(|| Fatal(format!("no role {role}")))?;
    let mut all = typed;
    for (key, values) in read(path)? {
        let setting = known
            .get_arguments()
            .find(|arg| arg.get_long() == Some(key.as_str()));
        let Some(setting) = setting.filter(|_| !DEEDS.contains(&key.as_str())) else {
            return Err(unknown(path, &key, role, known));
        };
        let given = own.value_source(setting.get_id().as_str());
        if !matches!(given, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            all.extend(typed_form(setting, &key, &values));
        }
    }
    strict(all).map_err(|e| Fatal(format!("with {}: {e}", path.display())))
}

/// The same command line with nothing required: what is missing may be in the file.
fn lenient(command: &Command) -> Command {
    let roles = command
        .get_subcommands()
        .map(|role| role.clone().mut_args(|arg| arg.required(false)));
    let roles: Vec<Command> = roles.collect();
    roles.into_iter().fold(command.clone(), |command, role| {
        let name = role.get_name().to_string();
        command.mut_subcommand(name, |_| role)
    })
}

fn typed_form(setting: &clap::Arg, key: &str, values: &[String]) -> Vec<OsString> {
    if setting.get_action().takes_values() {
        return values
            .iter()
            .map(|value| format!("--{key}={value}").into())
            .collect();
    }
    let set = values.iter().any(|value| value == "true");
    set.then(|| format!("--{key}").into()).into_iter().collect()
}

fn unknown(path: &Path, key: &str, role: &str, command: &Command) -> Fatal {
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    let names: Vec<_> = names.filter(|name| !DEEDS.contains(name)).collect();
    let allowed = names.join(", ");
    Fatal(format!(
        "{}: `{key}` is no setting of dfs-server {role}; these are: {allowed}",
        path.display()
    ))
}

fn read(path: &Path) -> Result<Vec<(String, Vec<String>)>, Fatal> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| Fatal::io(format!("cannot read {shown}"), e))?;
    let table: toml::Table = text
        .parse()
        .map_err(|e| Fatal::io(format!("{shown} is not TOML"), e))?;
    table
        .into_iter()
        .map(|(key, value)| Ok((key.clone(), plain(path, &key, value)?)))
        .collect()
}

fn plain(path: &Path, key: &str, value: toml::Value) -> Result<Vec<String>, Fatal> {
    Ok(match value {
        toml::Value::String(text) => vec![text],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(yes) => vec![yes.to_string()],
        toml::Value::Array(list) => {
            let parts: Result<Vec<_>, _> = list.into_iter().map(|value| plain(path, key, value)).collect();
            parts?.concat()
        }
        _ => {
            return Err(Fatal(format!(
                "{}: `{key}` must be a string, a number or a list",
                path.display()
            )));
        }
    })
}

/// The effective settings of the chosen role as TOML that `--config` accepts.
pub fn print(command: &Command, matches: &ArgMatches) -> String {
    let mut table = toml::Table::new();
    if let Some((role, own)) = matches.subcommand()
        && let Some(command) = command.find_subcommand(role)
    {
        for setting in command.get_arguments() {
            let id = setting.get_id().as_str();
            let Some(key) = setting.get_long().filter(|key| !DEEDS.contains(key)) else {
                continue;
            };
            if let Some(value) = effective(own, id, setting) {
                table.insert(key.to_string(), value);
            }
        }
    }
    table.to_string()
}

fn effective(own: &ArgMatches, id: &str, setting: &clap::Arg) -> Option<toml::Value> {
    if !setting.get_action().takes_values() {
        return Some(toml::Value::Boolean(own.get_flag(id)));
    }
    let raw = own.get_raw(id)?;
    let mut values: Vec<_> = raw
        .map(|value| value.to_string_lossy().into_owned())
        .map(typed_value)
        .collect();
    match setting.get_action() {
        clap::ArgAction::Append => Some(toml::Value::Array(values)),
        _ if values.len() == 1 => values.pop(),
        _ => Some(toml::Value::Array(values)),
    }
}

fn typed_value(text: String) -> toml::Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => toml::Value::Integer(number),
        _ => toml::Value::String(text),
    }
}
