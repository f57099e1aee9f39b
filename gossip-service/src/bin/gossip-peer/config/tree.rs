//! `core.yaml` and the environment as one flat set of values.

use std::collections::BTreeMap;

use serde_json::Value;

use super::keys::{Form, KEYS, Key, STRICT};
use super::{Failure, Notices};

/// Values by the path of their key, as spelt in the table.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<&'static str, Value>);

impl Tree {
    /// Reads the file's text and lays the environment over it.
    pub(super) fn read(
        yaml: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        notices: &mut Notices,
    ) -> Result<Self, Failure> {
        let root: Value = serde_saphyr::from_str(yaml)
            .map_err(|error| Failure(format!("the file is not readable as YAML: {error}")))?;
        let mut tree = Self::default();
        tree.absorb("", &root, notices)?;
        for (name, value) in environment {
            tree.overlay(&name, value, notices)?;
        }
        Ok(tree)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.0.get(path)
    }

    /// Keys that are set although we do not obey them.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Key> + '_ {
        KEYS.iter().filter(|key| self.0.contains_key(key.path))
    }

    fn absorb(&mut self, path: &str, value: &Value, notices: &mut Notices) -> Result<(), Failure> {
        if let Some(key) = find(path) {
            if !value.is_null() {
                self.0.insert(key.path, value.clone());
            }
            return Ok(());
        }
        match value {
            Value::Object(fields) if path.is_empty() || leads_to_a_key(path) => {
                for (name, value) in fields {
                    let deeper =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.absorb(&deeper, value, notices)?;
                }
                Ok(())
            }
            Value::Null if leads_to_a_key(path) => Ok(()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => unknown(path, notices),
        }
    }

    // fabric: common/viperutil/config_util.go, prefix CORE, dots as underscores, any case
    fn overlay(&mut self, name: &str, value: String, notices: &mut Notices) -> Result<(), Failure> {
        let Some(rest) = name.strip_prefix("CORE_") else { return Ok(()) };
        let wanted = rest.to_ascii_lowercase();
        let key = KEYS
            .iter()
            .find(|key| key.path.replace('.', "_").eq_ignore_ascii_case(&wanted))
            .filter(|key| key.form != Form::Section);
        match key {
            Some(key) => {
                self.0.insert(key.path, Value::String(value));
                Ok(())
            }
            None => {
                let strict = STRICT.iter().any(|section| {
                    wanted.starts_with(&format!("{}_", section.replace('.', "_").to_lowercase()))
                });
                if strict {
                    return Err(Failure(format!(
                        "the environment sets {name}, which is not a key of ours: unset it or correct its spelling"
                    )));
                }
                notices.foreign.push(name.to_owned());
                Ok(())
            }
        }
    }
}

fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path.eq_ignore_ascii_case(path))
}

/// Whether keys of ours lie below.
fn leads_to_a_key(path: &str) -> bool {
    let prefix = format!("{}.", path.to_ascii_lowercase());
    KEYS.iter().any(|key| key.path.to_ascii_lowercase().starts_with(&prefix))
}

fn unknown(path: &str, notices: &mut Notices) -> Result<(), Failure> {
    let lower = path.to_ascii_lowercase();
    let strict = STRICT
        .iter()
        .map(|section| section.to_ascii_lowercase())
        .any(|section| lower == section || lower.starts_with(&format!("{section}.")));
    if strict {
        return Err(Failure(format!(
            "{path} is not a key of ours: remove it or correct its spelling"
        )));
    }
    notices.foreign.push(path.to_owned());
    Ok(())
}
