//! What every error of the program can answer, whatever it is about: a stable reason, when to try again, what to do.

pub mod aws;

use std::time::Duration;

/// When an operation that failed is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Only a change of the input can help: the spec, the file, a key, a referenced object. Watches bring that.
    OnChange,
    /// A fault that may pass by itself: try again with growing waits.
    Backoff,
    /// The other side said when.
    After(Duration),
}

/// Implemented by every closed error enum. The text of the error (`Display`) says what failed and where, never a value.
pub trait Explain: std::error::Error {
    /// Stable PascalCase word: condition reason, event reason and metric label.
    fn reason(&self) -> &'static str;
    /// When to try again.
    fn retry(&self) -> Retry;
    /// What a person should do next, as one sentence without a final full stop. Empty when the text says it all.
    fn hint(&self) -> String;

    /// The error and its hint on one line, for people.
    fn line(&self) -> String {
        let hint = self.hint();
        let text = one_line(&self.to_string());
        if hint.is_empty() { text } else { format!("{text}; {}", one_line(&hint)) }
    }

    /// The same with the error's own line breaks: for places where no second line can be forged.
    fn lines(&self) -> String {
        let (text, hint) = (each_line(&self.to_string()), self.hint());
        if hint.is_empty() { text } else { format!("{text}; {}", one_line(&hint)) }
    }
}

/// Line breaks kept, other control characters folded.
pub fn each_line(text: &str) -> String {
    text.lines().map(one_line).collect::<Vec<_>>().join("\n")
}

/// Several causes as Go's programs write them: one as it is, more of them in brackets.
pub fn causes(all: &[impl AsRef<str>]) -> String {
    match all {
        [one] => one.as_ref().to_owned(),
        all => format!("[{}]", all.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")),
    }
}

/// What the system says about a file, in the words of Go's programs: "no such file or directory", with no number behind it.
pub fn system(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    first.to_lowercase() + rest
}

/// Folds line breaks and control characters, so that an error is one line and cannot forge a second one in a log.
pub fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// An error and its causes on one line, without those that the text before repeats (kube and gix quote their cause).
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    texts.join(": ")
}

/// Cuts `text` to at most `max` bytes at a character border, marking the cut.
pub fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_be_forged() {
        assert_eq!(one_line("a\nb\r\n\u{1b}[31mc"), "a b [31mc");
    }

    #[test]
    fn clip_keeps_characters_whole() {
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("aééé", 6), "aé…");
        assert!(clip(&"é".repeat(100), 50).len() <= 50);
    }
}
