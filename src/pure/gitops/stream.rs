//! Joins documents to one stream that `kubectl apply -f -` reads.

use crate::pure::format::split_documents;

/// Puts document markers between documents that need one. Bytes of documents are never changed.
pub struct Stream {
    single: bool,
    started: bool,
    open_line: bool,
}

impl Stream {
    /// A stream of one text (`single`) or more.
    pub fn new(single: bool) -> Self {
        Self { single, started: false, open_line: false }
    }

    /// Notes a text that follows the one before it in the same file, as it does in the stream.
    pub fn follow(&mut self, text: &[u8]) {
        self.open_line = !text.ends_with(b"\n");
    }

    /// What must stand before `text` in a YAML stream. Call it, or [`Stream::follow`], for each text, in order.
    pub fn before(&mut self, text: &[u8]) -> &'static [u8] {
        let marked = split_documents(text).is_ok_and(|spans| spans.first().is_some_and(|first| first.body_start > 0));
        // A directive may only stand after the end of the document before it.
        let directive = text.starts_with(b"%");
        let (started, open_line) = (self.started, self.open_line);
        self.started = true;
        self.open_line = !text.ends_with(b"\n");
        // A stream that begins with a brace is taken for JSON as a whole by kubectl.
        if !started && !self.single && text.trim_ascii_start().starts_with(b"{") {
            return b"---\n";
        }
        match (started, open_line, marked, directive) {
            (false, ..) | (true, false, true, false) => b"",
            (true, true, true, false) => b"\n",
            (true, false, true, true) => b"...\n",
            (true, true, true, true) => b"\n...\n",
            (true, false, false, _) => b"---\n",
            (true, true, false, _) => b"\n---\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(texts: &[&str]) -> String {
        let mut stream = Stream::new(texts.len() == 1);
        texts.iter().map(|text| String::from_utf8_lossy(stream.before(text.as_bytes())).into_owned() + text).collect()
    }

    #[test]
    fn markers_stand_where_they_are_needed_and_nowhere_else() {
        assert_eq!(join(&["a: 1\n"]), "a: 1\n");
        assert_eq!(join(&["# c\n---\na: 1\n", "---\nb: 1\n"]), "# c\n---\na: 1\n---\nb: 1\n");
        assert_eq!(join(&["a: 1\n", "b: 1", "{}"]), "a: 1\n---\nb: 1\n---\n{}");
        assert_eq!(join(&["{}"]), "{}", "one file keeps its bytes");
        assert_eq!(join(&["{}\n", "b: 1\n"]), "---\n{}\n---\nb: 1\n");
        assert_eq!(join(&["a: 1", "---\nb: 1"]), "a: 1\n---\nb: 1");
        assert_eq!(join(&["a: 1", "%YAML 1.2\n---\nb: 1\n"]), "a: 1\n...\n%YAML 1.2\n---\nb: 1\n");
    }
}
