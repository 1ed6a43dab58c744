//! From the name of a type to the name of a kind.

/// `WelcomeEmail` as `welcome-email`; `HTTPPing2` as `http-ping2`; a raw `r#type` as `type`.
pub(crate) fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.trim_start_matches("r#").chars().collect();
    let mut kebab = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let after = letters.get(at + 1);
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                !before.is_uppercase() || after.is_some_and(|after| after.is_lowercase())
            });
        if *letter == '_' || starts_word {
            kebab.push('-');
        }
        if *letter != '_' {
            kebab.extend(letter.to_lowercase());
        }
    }
    kebab.replace("--", "-").trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::kebab;

    #[test]
    fn type_names_become_kinds() {
        for (name, kind) in [
            ("WelcomeEmail", "welcome-email"),
            ("HTTPPing2", "http-ping2"),
            ("Send_Mail", "send-mail"),
            ("r#Type", "type"),
            ("A", "a"),
            ("ABTest", "ab-test"),
        ] {
            assert_eq!(kebab(name), kind);
        }
    }
}
