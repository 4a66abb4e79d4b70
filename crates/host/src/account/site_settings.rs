//! What an account gives to the sessions of its user: the fields `env` and `directory`. An invalid value is left
//! out, with a message that names the variable and never shows its value, which may be a secret.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use session::escape::printable;
use session::variables::problem_of_site_variable;
use session::wire::SiteSettings;
use std::collections::BTreeMap;
use std::fmt;

/// Most variables.
const VARIABLES_MAX: usize = 256;

/// Longest variables in all, in bytes: each counts as `NAME=VALUE` with a NUL, as for execve(2).
const BYTES_MAX: usize = 32 * 1024;

/// Longest directory, in bytes: `PATH_MAX` without its NUL.
const DIRECTORY_MAX: usize = 4095;

/// What stands in place of a value where an account is shown.
const HIDDEN: &str = "(hidden)";

/// The variables of an account.
#[derive(Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct SiteVariables(BTreeMap<String, String>);

impl SiteVariables {
    /// The same names, without the values.
    #[must_use]
    pub fn hidden(&self) -> Self {
        Self(self.0.keys().map(|name| (name.clone(), HIDDEN.to_owned())).collect())
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The variables, and the directory of the same account, for the session's programs.
    #[must_use]
    pub fn settings(&self, directory: Option<&str>) -> SiteSettings {
        let variables = self.0.iter();
        SiteSettings {
            variables: variables.map(|(name, value)| (name.clone().into(), value.clone().into())).collect(),
            directory: directory.map(|directory| directory.to_owned().into()),
        }
    }
}

/// The names only.
impl fmt::Debug for SiteVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Removes what is invalid from `env` and `directory`. Adds a message for each value that is left out.
pub fn leave_out_invalid(fields: &mut Map<String, Value>, ignored: &mut Vec<String>) {
    if let Some(variables) = fields.get_mut("env").filter(|value| !value.is_null())
        && let Err(problem) = leave_out_variables(variables, ignored)
    {
        ignored.push(format!("env: {problem}"));
        fields.remove("env");
    }
    let problem = fields.get("directory").filter(|value| !value.is_null()).and_then(problem_of_directory);
    if let Some(problem) = problem {
        ignored.push(format!("directory: {problem}"));
        fields.remove("directory");
    }
}

/// An error is about the variables as a whole.
fn leave_out_variables(variables: &mut Value, ignored: &mut Vec<String>) -> Result<(), String> {
    let variables = variables.as_object_mut().ok_or("expected an object")?;
    if variables.len() > VARIABLES_MAX {
        return Err(format!("expected at most {VARIABLES_MAX} variables"));
    }
    variables.retain(|name, value| {
        let problem = problem_of_site_variable(name).or_else(|| problem_of_value(value));
        ignored.extend(problem.map(|problem| format!("env.{}: {problem}", printable(name.as_bytes()))));
        problem.is_none()
    });
    let length = |(name, value): (&String, &Value)| name.len() + 2 + value.as_str().map_or(0, str::len);
    if variables.iter().map(length).sum::<usize>() > BYTES_MAX {
        return Err(format!("expected at most {} KiB in all", BYTES_MAX / 1024));
    }
    Ok(())
}

fn problem_of_value(value: &Value) -> Option<&'static str> {
    match value.as_str() {
        None => Some("expected a text"),
        Some(text) if text.contains('\0') => Some("expected a text without NUL"),
        Some(_) => None,
    }
}

fn problem_of_directory(value: &Value) -> Option<String> {
    let is_path = |text: &str| (1..=DIRECTORY_MAX).contains(&text.len()) && !text.contains('\0');
    let problem = || format!("expected a path of 1 to {DIRECTORY_MAX} bytes, without NUL");
    (!value.as_str().is_some_and(is_path)).then(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is left of the fields, and the messages.
    fn checked(fields: Value) -> (Value, Vec<String>) {
        let (Value::Object(mut fields), mut ignored) = (fields, Vec::new()) else { panic!("no object") };
        leave_out_invalid(&mut fields, &mut ignored);
        (Value::Object(fields), ignored)
    }

    #[test]
    fn variables_and_a_directory_as_the_contract_shows_them() {
        let pem = "-----BEGIN-----\nAAAA\n\u{e4}\u{1b}";
        for fields in [
            json!({"env": {"SITE_TOKEN": "s3cret", "_": "", "PEM": pem}, "directory": "proj/one"}),
            json!({"env": {}, "directory": "/srv/x y"}),
            json!({"env": null, "directory": null}),
            json!({}),
        ] {
            assert_eq!(checked(fields.clone()), (fields, vec![]));
        }
    }

    #[test]
    fn a16_an_invalid_variable_costs_only_itself_and_no_message_shows_a_value() {
        let (left, ignored) = checked(json!({"env": {
            "GOOD": "1", "1BAD": "s3cret", "A\u{1b}=": "s3cret", "LD_PRELOAD": "s3cret", "PATH": "s3cret",
            "SSH_AUTH_SOCK": "s3cret", "NUL": "s3cret\u{0}", "NUMBER": 713, "LIST": ["s3cret"]
        }}));
        assert_eq!(left, json!({"env": {"GOOD": "1"}}));
        let name = "expected a name of letters, digits and _, which begins with no digit";
        let (ours, text) = ("the site may not set this variable", "expected a text");
        assert_eq!(
            ignored,
            [
                format!("env.1BAD: {name}"),
                format!("env.A\\x1b=: {name}"),
                format!("env.LD_PRELOAD: {ours}"),
                format!("env.LIST: {text}"),
                format!("env.NUL: {text} without NUL"),
                format!("env.NUMBER: {text}"),
                format!("env.PATH: {ours}"),
                format!("env.SSH_AUTH_SOCK: {ours}"),
            ]
        );
        for wrong in [json!("s3cret"), json!(713), json!([["A", "s3cret"]])] {
            let (left, ignored) = checked(json!({"env": wrong, "directory": "x"}));
            assert_eq!(
                (left, ignored),
                (json!({"directory": "x"}), vec!["env: expected an object".to_owned()])
            );
        }
    }

    #[test]
    fn variables_have_a_number_and_a_length() {
        let many = |count: usize| (0..count).map(|n| (format!("N{n}"), json!("x"))).collect::<Map<_, _>>();
        let long = |length: usize| json!({"A": "x".repeat(length - 7), "BC": "", "/": "x".repeat(40_000)});
        assert_eq!(checked(json!({"env": many(256)})).1, Vec::<String>::new());
        assert_eq!(checked(json!({"env": many(257)})).1, ["env: expected at most 256 variables"]);
        assert_eq!(checked(json!({"env": long(32 * 1024)})).1.len(), 1);
        let (left, ignored) = checked(json!({"env": long(32 * 1024 + 1)}));
        assert_eq!(
            (left, ignored.last().unwrap().as_str()),
            (json!({}), "env: expected at most 32 KiB in all")
        );
    }

    #[test]
    fn a_directory_that_is_no_path_is_left_out() {
        assert_eq!(checked(json!({"directory": "x".repeat(4095)})).1, Vec::<String>::new());
        for wrong in [json!(""), json!("x".repeat(4096)), json!("a\u{0}b"), json!(5), json!(["x"])] {
            let (left, ignored) = checked(json!({"directory": wrong}));
            let message = "directory: expected a path of 1 to 4095 bytes, without NUL";
            assert_eq!((left, ignored), (json!({}), vec![message.to_owned()]));
        }
    }

    #[test]
    fn a16_debug_output_and_what_is_shown_have_no_values() {
        let variables = SiteVariables([("TOKEN".to_owned(), "s3cret".to_owned())].into());
        assert_eq!(format!("{variables:?}"), "{\"TOKEN\"}");
        assert_eq!(serde_json::to_string(&variables.hidden()).unwrap(), r#"{"TOKEN":"(hidden)"}"#);
        assert_eq!(variables.settings(Some("d")).variables, [(b"TOKEN".to_vec(), b"s3cret".to_vec())]);
    }
}
