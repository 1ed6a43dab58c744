//! Whether bytes are JSON, and not too deep. Builds nothing, calls nothing recursively.

use crate::limits::JSON_DEPTH_MAX;

/// What is wrong, in words, with the offset.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(format!("it is not UTF-8 at byte {}", error.valid_up_to()));
    }
    let mut reader = Reader { bytes, at: 0 };
    reader.document().map_err(|problem| match problem {
        Problem::TooDeep => format!("it is nested deeper than {JSON_DEPTH_MAX}"),
        Problem::Unexpected if reader.at >= bytes.len() => "it ends too early".into(),
        Problem::Unexpected => format!("it is malformed at byte {}", reader.at),
    })
}

enum Problem {
    TooDeep,
    Unexpected,
}

/// For each open level whether it is an object: a bit, so that nothing is allocated.
#[derive(Default)]
struct Levels {
    count: usize,
    objects: u64,
}

const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS as usize);

impl Levels {
    fn push(&mut self, object: bool) {
        self.objects = self.objects << 1 | u64::from(object);
        self.count += 1;
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.count -= 1;
    }

    fn last(&self) -> Option<bool> {
        (self.count > 0).then_some(self.objects & 1 == 1)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn expect(&mut self, byte: u8) -> Result<(), Problem> {
        self.take(byte).then_some(()).ok_or(Problem::Unexpected)
    }

    fn document(&mut self) -> Result<(), Problem> {
        let mut levels = Levels::default();
        loop {
            self.space();
            let opened = match self.peek() {
                Some(open @ (b'{' | b'[')) => Some(open == b'{'),
                _ => None,
            };
            if let Some(object) = opened {
                self.at += 1;
                if levels.count == JSON_DEPTH_MAX {
                    return Err(Problem::TooDeep);
                }
                self.space();
                if !self.take(close(object)) {
                    levels.push(object);
                    self.name_if(object)?;
                    continue;
                }
            } else {
                self.scalar()?;
            }
            if !self.after_value(&mut levels)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes levels until there is another value (true), or the end (false).
    fn after_value(&mut self, levels: &mut Levels) -> Result<bool, Problem> {
        loop {
            self.space();
            let Some(object) = levels.last() else {
                let done = self.at == self.bytes.len();
                return if done {
                    Ok(false)
                } else {
                    Err(Problem::Unexpected)
                };
            };
            if self.take(b',') {
                self.space();
                self.name_if(object)?;
                return Ok(true);
            }
            self.expect(close(object))?;
            levels.pop();
        }
    }

    /// In an object, the name and the colon before a value.
    fn name_if(&mut self, object: bool) -> Result<(), Problem> {
        if object {
            self.string()?;
            self.space();
            self.expect(b':')?;
        }
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(Problem::Unexpected),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Problem> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(Problem::Unexpected)
    }

    fn string(&mut self) -> Result<(), Problem> {
        self.expect(b'"')?;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(Problem::Unexpected),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(Problem::Unexpected);
                    }
                    self.at += 1;
                }
                Ok(())
            }
            _ => Err(Problem::Unexpected),
        }
    }

    fn digits(&mut self) -> Result<(), Problem> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(()).ok_or(Problem::Unexpected)
    }

    fn number(&mut self) -> Result<(), Problem> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }
}

/// How many bytes at the front are neither a quote, a backslash nor a control character: 32 at a
/// time, which the compiler looks at together, and then the last ones.
fn plain(bytes: &[u8]) -> usize {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let (chunks, _) = bytes.as_chunks::<32>();
    let plain = chunks.iter().take_while(|chunk| {
        let found = chunk
            .iter()
            .fold(false, |found, byte| found | special(*byte));
        !found
    });
    let whole = 32 * plain.count();
    let rest = bytes[whole..].iter();
    whole + rest.take_while(|byte| !special(**byte)).count()
}

fn close(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn json_is_accepted() {
        for text in [
            "null",
            " true ",
            "-0.5e+10",
            "0",
            "12",
            "\"a\\u00e9\\n\"",
            "[]",
            "{}",
            "[1, [2, {}]]",
            "{\"a\": {\"b\": [1, \"x\"]}, \"c\": null}",
            "\"\\ud800\"",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_place() {
        for (text, told) in [
            ("", "it ends too early"),
            ("{", "it ends too early"),
            ("[1,]", "it is malformed at byte 3"),
            ("{\"a\" 1}", "it is malformed at byte 5"),
            ("{a: 1}", "it is malformed at byte 1"),
            ("01", "it is malformed at byte 1"),
            ("1.", "it ends too early"),
            ("\"\u{1}\"", "it is malformed at byte 1"),
            ("\"\\x\"", "it is malformed at byte 2"),
            ("1 2", "it is malformed at byte 2"),
            ("[1}", "it is malformed at byte 2"),
            ("tru", "it is malformed at byte 0"),
        ] {
            assert_eq!(check(text.as_bytes()), Err(told.into()), "{text}");
        }
        assert_eq!(check(b"\"\xff\""), Err("it is not UTF-8 at byte 1".into()));
    }

    #[test]
    fn every_byte_is_judged_wherever_it_stands_in_a_long_string() {
        let judged = |byte: u8, at: usize| {
            let mut text = [b'x'; 40];
            (text[0], text[39], text[at]) = (b'"', b'"', byte);
            check(&text)
        };
        for at in 1..38 {
            for byte in 0..=0x7f {
                let fine = byte >= 0x20 && byte != b'"' && byte != b'\\';
                assert_eq!(judged(byte, at).is_ok(), fine, "{byte:#x} at {at}");
            }
            // Beyond ASCII, two bytes make a letter.
            let letter = format!("\"{}é{}\"", "x".repeat(at), "x".repeat(38 - at));
            assert_eq!(check(letter.as_bytes()), Ok(()));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(nested(64).as_bytes()), Ok(()));
        let told = check(nested(65).as_bytes());
        assert_eq!(told, Err("it is nested deeper than 64".into()));
        assert!(check("[".repeat(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn each_level_is_closed_as_it_was_opened() {
        // Of every depth, the levels as the bits of a number that is different at each.
        for depth in 1..=64_usize {
            let object = |level: usize| 0x9e37_79b9_7f4a_7c15_u64 >> (level % 64) & 1 == 1;
            let opened = (0..depth).map(|level| if object(level) { "{\"a\":" } else { "[" });
            let closed = (0..depth).rev();
            let closed = closed.map(|level| if object(level) { '}' } else { ']' });
            let (opened, closed): (String, Vec<char>) = (opened.collect(), closed.collect());
            let text = |closed: &[char]| format!("{opened}1{}", String::from_iter(closed));
            assert_eq!(check(text(&closed).as_bytes()), Ok(()), "{depth}");
            for wrong in 0..depth {
                let mut closed = closed.clone();
                closed[wrong] = if closed[wrong] == '}' { ']' } else { '}' };
                assert!(
                    check(text(&closed).as_bytes()).is_err(),
                    "{wrong} of {depth}"
                );
            }
        }
    }
}
