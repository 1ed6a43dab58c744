//! The `#[job(…)]` attribute, judged and written out.

use posthaste_core::policy::Criticality;
use posthaste_core::{Backoff, KindName, Priority, QueueName, duration, limits, suggest};
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::meta::ParseNestedMeta;
use syn::{DeriveInput, Error, LitBool, LitStr, Result};

use crate::settings::{given_twice, number, setting, text};

const SETTINGS: [&str; 8] = [
    "kind",
    "queue",
    "priority",
    "max_attempts",
    "timeout",
    "backoff",
    "keep_result",
    "criticality",
];
const BACKOFF_SETTINGS: [&str; 4] = ["base", "factor", "max", "jitter_percent"];

#[derive(Default)]
struct Settings {
    kind: Option<String>,
    queue: Option<String>,
    priority: Option<u8>,
    max_attempts: Option<u16>,
    timeout_ms: Option<u32>,
    backoff: Option<Backoff>,
    keep_result: Option<bool>,
    criticality: Option<String>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let mut settings = Settings::default();
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("job"))
    {
        attribute.parse_nested_meta(|meta| settings.read(&meta))?;
    }
    let name = &input.ident;
    let kind = match settings.kind.take() {
        Some(kind) => kind,
        None => default_kind(&name.to_string(), name.span())?,
    };
    let rule = settings.chain();
    let (generics, arguments, wheres) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::posthaste::Job for #name #arguments #wheres {
            const KIND: &'static str = #kind;

            fn rule() -> &'static ::posthaste::JobRule {
                static RULE: ::std::sync::OnceLock<::posthaste::JobRule> =
                    ::std::sync::OnceLock::new();
                RULE.get_or_init(|| ::posthaste::JobRule::new(#kind) #rule)
            }
        }
    })
}

fn default_kind(name: &str, span: Span) -> Result<String> {
    let kind = crate::names::kebab(name);
    KindName::new(&kind).map_err(|error| {
        Error::new(
            span,
            format!("{error}, or name it with #[job(kind = \"…\")]"),
        )
    })?;
    Ok(kind)
}

impl Settings {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let setting = setting(meta, &SETTINGS)?;
        let given = match setting {
            "kind" => self.kind.replace(text(meta, KindName::new)?).is_some(),
            "queue" => self.queue.replace(text(meta, QueueName::new)?).is_some(),
            "priority" => {
                let priority = number(meta, 1, 9, "; 9 is served first")?;
                self.priority.replace(priority).is_some()
            }
            "max_attempts" => {
                let attempts = number(meta, 1, limits::ATTEMPTS_MAX, "")?;
                self.max_attempts.replace(attempts).is_some()
            }
            "timeout" => {
                let timeout = length(meta, 1, limits::ATTEMPT_TIMEOUT_MS_MAX)?;
                self.timeout_ms.replace(timeout).is_some()
            }
            "criticality" => self.criticality.replace(text(meta, tier)?).is_some(),
            "backoff" => self.backoff.replace(backoff(meta)?).is_some(),
            _ => self
                .keep_result
                .replace(meta.value()?.parse::<LitBool>()?.value)
                .is_some(),
        };
        if given {
            return Err(given_twice(meta, setting));
        }
        Ok(())
    }

    /// The calls that set what was given.
    fn chain(&self) -> TokenStream {
        let mut chain = TokenStream::new();
        if let Some(queue) = &self.queue {
            chain.extend(quote!(.queue(#queue)));
        }
        if let Some(priority) = self
            .priority
            .filter(|value| Priority::new(*value).is_some())
        {
            chain.extend(quote!(.priority(#priority)));
        }
        if let Some(attempts) = self.max_attempts {
            chain.extend(quote!(.max_attempts(#attempts)));
        }
        if let Some(ms) = self.timeout_ms {
            chain.extend(quote!(.timeout(::std::time::Duration::from_millis(#ms as u64))));
        }
        if let Some(backoff) = self.backoff {
            let Backoff {
                base_ms,
                factor,
                max_ms,
                jitter_percent,
            } = backoff;
            chain.extend(quote!(.backoff(::posthaste::Backoff {
                base_ms: #base_ms,
                factor: #factor,
                max_ms: #max_ms,
                jitter_percent: #jitter_percent,
            })));
        }
        if let Some(keep) = self.keep_result {
            chain.extend(quote!(.keep_result(#keep)));
        }
        if let Some(tier) = self.criticality.as_deref().and_then(Criticality::from_word) {
            let tier = format_ident!("{tier:?}");
            chain.extend(quote!(.criticality(::posthaste::policy::Criticality::#tier)));
        }
        chain
    }
}

/// How much it matters, by its word.
fn tier(word: &str) -> std::result::Result<(), String> {
    if Criticality::from_word(word).is_some() {
        return Ok(());
    }
    let words = Criticality::ALL.map(Criticality::word);
    Err(match suggest::nearest(word, words) {
        Some(near) => format!("unknown criticality `{word}`; did you mean `{near}`?"),
        None => format!("unknown criticality `{word}`; known: {}", words.join(", ")),
    })
}

fn length(meta: &ParseNestedMeta<'_>, least_ms: u32, most_ms: u32) -> Result<u32> {
    let literal: LitStr = meta.value()?.parse()?;
    let written =
        duration::parse_ms(&literal.value()).map_err(|error| Error::new(literal.span(), error))?;
    u32::try_from(written)
        .ok()
        .filter(|ms| (least_ms..=most_ms).contains(ms))
        .ok_or_else(|| {
            let (least, most) = (least_ms.into(), most_ms.into());
            Error::new(
                literal.span(),
                format!(
                    "{} is out of range; give {} to {}",
                    literal.value(),
                    duration::print_ms(least),
                    duration::print_ms(most)
                ),
            )
        })
}

/// `backoff = "10s"` or `backoff(base = "1s", …)`.
fn backoff(meta: &ParseNestedMeta<'_>) -> Result<Backoff> {
    if !meta.input.peek(syn::token::Paren) {
        return length(meta, 0, u32::MAX).map(Backoff::fixed);
    }
    let mut backoff = Backoff::default();
    meta.parse_nested_meta(|meta| {
        match setting(&meta, &BACKOFF_SETTINGS)? {
            "base" => backoff.base_ms = length(&meta, 0, u32::MAX)?,
            "factor" => backoff.factor = number(&meta, 1, u8::MAX, "")?,
            "max" => backoff.max_ms = length(&meta, 0, u32::MAX)?,
            _ => backoff.jitter_percent = number(&meta, 0, 100, "")?,
        }
        Ok(())
    })?;
    Ok(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(attribute: &str) -> String {
        let text = format!("#[job({attribute})] struct WelcomeEmail;");
        let input = syn::parse_str(&text).expect("a struct");
        expand(&input).expect_err(attribute).to_string()
    }

    fn written(attribute: &str) -> String {
        let text = format!("#[job({attribute})] struct WelcomeEmail;");
        let input = syn::parse_str(&text).expect("a struct");
        expand(&input).expect(attribute).to_string()
    }

    fn check(attribute: &str, said: &str) {
        assert_eq!(refusal(attribute), said);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        check(
            "prio = 9",
            "unknown setting `prio`; known: kind, queue, priority, max_attempts, timeout, backoff, keep_result, criticality",
        );
        check(
            "prioirty = 9",
            "unknown setting `prioirty`; did you mean `priority`?",
        );
        check(
            "backoff(bse = \"1s\")",
            "unknown setting `bse`; did you mean `base`?",
        );
        check(
            "priority = 10",
            "10 is out of range; give 1 to 9; 9 is served first",
        );
        check("max_attempts = 0", "0 is out of range; give 1 to 1000");
        check("timeout = \"8d\"", "8d is out of range; give 1ms to 7d");
        check(
            "queue = \"a\", queue = \"b\"",
            "`queue` is given twice; give it once",
        );
        check(
            "timeout = \"30 seconds\"",
            "\"30 seconds\" is not a duration; write it as 200ms, 30s, 5m, 1h30m or 7d",
        );
        check(
            "criticality = \"bach\"",
            "unknown criticality `bach`; did you mean `batch`?",
        );
        check(
            "kind = \"welcome email\"",
            "the kind \"welcome email\" has the character ' '; use 1 to 128 letters, digits and . _ - : /",
        );
    }

    #[test]
    fn what_is_given_is_written_out() {
        let code = written(
            "queue = \"mail\", priority = 7, backoff = \"10s\", criticality = \"best-effort\"",
        );
        for part in [
            "\"welcome-email\"",
            ". queue (\"mail\")",
            ". priority (7u8)",
            "base_ms : 10000u32",
            "factor : 1u8",
            ":: BestEffort)",
        ] {
            assert!(code.contains(part), "{part} is not in {code}");
        }
    }
}
