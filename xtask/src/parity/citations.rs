//! Citations of Fabric in comments.

/// One function of Fabric, named in a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Citation {
    /// Fabric's package, as a path in its repository.
    pub(crate) package: String,
    /// The function or type.
    pub(crate) function: String,
    /// Why ours is another, if it is.
    pub(crate) differs: Option<String>,
    /// File and line of the comment.
    pub(crate) place: String,
}

impl Citation {
    /// A deviation in behaviour that no single function answers for.
    fn of_nothing(place: String) -> Self {
        Self { package: String::new(), function: String::new(), differs: None, place }
    }

    /// Whether a function is cited at all.
    pub(crate) fn names_something(&self) -> bool {
        !self.function.is_empty()
    }

    /// Whether what is cited is one of Fabric's own tests.
    pub(crate) fn is_test(&self) -> bool {
        self.function.starts_with("Test")
    }

    /// What is cited, whatever the place.
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.package, &self.function)
    }
}

/// The citations in the file at `path`; a `fabric-differs:` belongs to the citations of the comment above it.
pub(crate) fn of(path: &str, text: &str) -> Vec<Citation> {
    let mut found: Vec<Citation> = Vec::new();
    let mut open = 0;
    let mut differs = false;
    for (number, line) in (1..).zip(text.lines()) {
        let comment = line
            .trim_start()
            .strip_prefix("//")
            .map(|text| text.trim_start_matches(['/', '!']).trim());
        let Some(comment) = comment else {
            open = found.len();
            differs = false;
            continue;
        };
        if let Some(cited) = comment.strip_prefix("fabric:") {
            differs = false;
            found.extend(citations(cited, &format!("{path}:{number}")));
        } else if let Some(reason) = comment.strip_prefix("fabric-differs:") {
            differs = true;
            if found.len() == open {
                found.push(Citation::of_nothing(format!("{path}:{number}")));
            }
            set_reason(&mut found, open, reason.trim());
        } else if differs {
            set_reason(&mut found, open, comment);
        }
    }
    found
}

fn set_reason(found: &mut [Citation], open: usize, reason: &str) {
    for citation in found.iter_mut().skip(open) {
        let sentence = citation.differs.get_or_insert_default();
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        sentence.push_str(reason);
    }
}

/// `path Function, Function (remark)`: a path, then names between commas; anything else is prose.
fn citations(cited: &str, place: &str) -> Vec<Citation> {
    let (path, names) = cited.trim().split_once(' ').unwrap_or((cited, ""));
    let package = match path.rsplit_once('/') {
        Some((package, file)) if file.contains('.') => package,
        _ => path,
    };
    let names = names.split(',').filter_map(name);
    names
        .map(|name| Citation {
            package: package.to_owned(),
            function: name.to_owned(),
            differs: None,
            place: place.to_owned(),
        })
        .collect()
}

/// The one name in `part`, without its receiver; a remark in parentheses may follow.
fn name(part: &str) -> Option<&str> {
    let (name, rest) = part.trim().split_once(' ').unwrap_or((part.trim(), ""));
    let name = name.trim_end_matches(['.', ';', ':']);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
    let alone = rest.is_empty() || rest.trim_start().starts_with('(');
    (is_name && alone).then(|| name.rsplit('.').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_citation_names_package_and_functions() {
        let found = of(
            "a.rs",
            "fn a() {}\n// fabric: gossip/comm/comm_impl.go Send, commImpl.Probe (both)\n",
        );
        let keys: Vec<_> = found.iter().map(Citation::key).collect();
        assert_eq!(keys, [("gossip/comm", "Send"), ("gossip/comm", "Probe")]);
        assert_eq!(found[0].place, "a.rs:2");
        let found = of("a.rs", "// fabric: a/b.go the prefix CORE, any case, Name");
        assert_eq!(found.iter().map(Citation::key).collect::<Vec<_>>(), [("a", "Name")]);
        let found = of("a.rs", "/// fabric: internal/pkg/peer/blocksprovider DeliverStreamer");
        assert_eq!(found[0].key(), ("internal/pkg/peer/blocksprovider", "DeliverStreamer"));
    }

    #[test]
    fn a_reason_belongs_to_the_comment_above_and_may_be_long() {
        let text = "// fabric: a/b.go One\nx();\n// fabric: a/b.go Two\n// fabric-differs: first\n// second.\ny();\n// other\n";
        let found = of("a.rs", text);
        assert_eq!(found[0].differs, None);
        assert_eq!(found[1].differs.as_deref(), Some("first second."));
    }

    #[test]
    fn a_deviation_needs_no_function() {
        let found = of("a.rs", "// fabric: a/b.go One\nx();\n// fabric-differs: later\n");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].differs.as_deref(), found[1].differs.as_deref()),
            (None, Some("later"))
        );
        assert!(found[0].names_something() && !found[1].names_something());
    }
}
