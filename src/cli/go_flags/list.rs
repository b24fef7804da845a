//! A list in one value of a flag: the first record of Go's reader of comma-separated values.

const BARE: &str = "bare \" in non-quoted-field";
const MISPLACED: &str = "extraneous or missing \" in quoted-field";

/// The elements. An empty text is an empty list.
///
/// # Errors
/// What is wrong, in Go's words.
pub fn elements(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(vec![]);
    }
    let text = text.replace("\r\n", "\n");
    let text = text.strip_suffix('\r').unwrap_or(&text);
    // Empty lines before the record count for its place only.
    let record = text.trim_start_matches('\n');
    if record.is_empty() {
        return Err("EOF".into());
    }
    let mut reader = Reader { rest: record, start: text.len() - record.len() + 1, line: 0, column: 1 };
    reader.line = reader.start;
    let mut elements = vec![];
    loop {
        let (element, is_last) = reader.element()?;
        elements.push(element);
        if is_last {
            return Ok(elements);
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// Line on which the record begins, and the place in bytes that was read to.
    start: usize,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        self.column += bytes;
    }

    fn wrong(&self, column: usize, what: &str) -> String {
        let place = format!("parse error on line {}, column {column}: {what}", self.line);
        if self.line == self.start { place } else { format!("record on line {}; {place}", self.start) }
    }

    /// The next element, and whether the record ends with it.
    fn element(&mut self) -> Result<(String, bool), String> {
        if self.rest.starts_with('"') {
            self.skip(1);
            return self.in_quotes();
        }
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let (element, after) = self.rest.split_at(end);
        if let Some(at) = element.find('"') {
            return Err(self.wrong(self.column + at, BARE));
        }
        let found = (element.to_owned(), !after.starts_with(','));
        self.skip(end + 1);
        Ok(found)
    }

    fn in_quotes(&mut self) -> Result<(String, bool), String> {
        let mut element = String::new();
        loop {
            let line = self.rest.split_inclusive('\n').next().unwrap_or_default();
            if line.is_empty() {
                return Err(self.wrong(self.column, MISPLACED));
            }
            let Some(end) = line.find('"') else {
                element.push_str(line);
                self.skip(line.len());
                if !self.rest.is_empty() {
                    self.line += 1;
                    self.column = 1;
                }
                continue;
            };
            element.push_str(line.get(..end).unwrap_or_default());
            self.skip(end + 1);
            match self.rest.chars().next() {
                Some('"') => element.push('"'),
                Some(',') => {
                    self.skip(1);
                    return Ok((element, false));
                }
                None | Some('\n') => return Ok((element, true)),
                Some(_) => return Err(self.wrong(self.column - 1, MISPLACED)),
            }
            self.skip(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::elements;

    #[test]
    fn elements_are_gos() {
        let long = |text: &str| elements(text).expect(text);
        assert!(long("").is_empty());
        assert_eq!(long(","), ["", ""]);
        assert_eq!(long("a,,b"), ["a", "", "b"]);
        assert_eq!(long("\"a,b\",c"), ["a,b", "c"]);
        assert_eq!(long("\"a\"\"b\""), ["a\"b"]);
        assert_eq!(long("\"a\nb\""), ["a\nb"]);
        assert_eq!(long("\n\na\nb"), ["a"]);
        assert_eq!(long("\r\na\r"), ["a"]);
        for (text, why) in [
            ("\n", "EOF"),
            ("a\"b", "parse error on line 1, column 2: bare \" in non-quoted-field"),
            ("é\"b", "parse error on line 1, column 3: bare \" in non-quoted-field"),
            ("\"a", "parse error on line 1, column 3: extraneous or missing \" in quoted-field"),
            ("\"a\"b", "parse error on line 1, column 3: extraneous or missing \" in quoted-field"),
            ("a,\"b", "parse error on line 1, column 5: extraneous or missing \" in quoted-field"),
            ("\"a\nb", "record on line 1; parse error on line 2, column 2: extraneous or missing \" in quoted-field"),
        ] {
            assert_eq!(elements(text), Err(why.to_owned()), "{text:?}");
        }
    }
}
