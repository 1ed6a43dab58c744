//! The `#[event(…)]` attribute, judged and written out.

use posthaste_core::{NewEvent, Payload, TopicName, check, limits, suggest};
use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::{Data, DeriveInput, Error, Fields, Index, LitStr, Member, Result};

use crate::settings::{given_twice, number, setting, text};

const SETTINGS: [&str; 5] = ["type", "topic", "version", "source", "key"];

#[derive(Default)]
struct Settings {
    event_type: Option<String>,
    topic: Option<String>,
    version: Option<u32>,
    source: Option<String>,
    key: Option<LitStr>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let mut settings = Settings::default();
    for attribute in input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("event"))
    {
        attribute.parse_nested_meta(|meta| settings.read(&meta))?;
    }
    let name = &input.ident;
    let event_type = match settings.event_type.take() {
        Some(event_type) => event_type,
        None => default_type(&name.to_string(), name.span())?,
    };
    let topic = match settings.topic.take() {
        Some(topic) => topic,
        None => default_topic(&event_type, name.span())?,
    };
    let version = settings.version.unwrap_or(1);
    let source = settings
        .source
        .unwrap_or_else(|| limits::EVENT_SOURCE_DEFAULT.to_owned());
    let key = settings
        .key
        .map(|key| key_of(&key, &input.data))
        .transpose()?
        .unwrap_or_else(|| quote!(::std::option::Option::None));
    let (generics, arguments, wheres) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::posthaste::Event for #name #arguments #wheres {
            const TYPE: &'static str = #event_type;
            const TOPIC: &'static str = #topic;
            const VERSION: u32 = #version;
            const SOURCE: &'static str = #source;

            fn key(&self) -> ::std::option::Option<::std::string::String> {
                #key
            }
        }
    })
}

impl Settings {
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let setting = setting(meta, &SETTINGS)?;
        let given = match setting {
            "type" => self.event_type.replace(text(meta, check_type)?).is_some(),
            "topic" => self.topic.replace(text(meta, TopicName::new)?).is_some(),
            "version" => self
                .version
                .replace(number(meta, 1, u32::MAX, "")?)
                .is_some(),
            "source" => self.source.replace(text(meta, check_source)?).is_some(),
            _ => self.key.replace(meta.value()?.parse()?).is_some(),
        };
        if given {
            return Err(given_twice(meta, setting));
        }
        Ok(())
    }
}

fn default_type(name: &str, span: Span) -> Result<String> {
    let event_type = crate::names::kebab(name);
    check_type(&event_type).map_err(|error| {
        Error::new(
            span,
            format!("{error}, or name it with #[event(type = \"…\")]"),
        )
    })?;
    Ok(event_type)
}

fn default_topic(event_type: &str, span: Span) -> Result<String> {
    TopicName::new(event_type).map_err(|error| {
        Error::new(
            span,
            format!("{error}, or name it with #[event(topic = \"…\")]"),
        )
    })?;
    Ok(event_type.to_owned())
}

fn check_type(event_type: &str) -> posthaste_core::Result<()> {
    check::new_event(&event_of(event_type))
}

fn check_source(source: &str) -> posthaste_core::Result<()> {
    let mut event = event_of("any");
    event.source = source.into();
    check::new_event(&event)
}

/// An event with nothing amiss but, maybe, its type.
fn event_of(event_type: &str) -> NewEvent {
    NewEvent::new("any", event_type, Payload::json("null"))
}

/// The expression that gives the key: the field that `named` names, written out as text.
fn key_of(named: &LitStr, data: &Data) -> Result<TokenStream> {
    let Data::Struct(of) = data else {
        return Err(Error::new(
            named.span(),
            "only a struct has a field for a key; write the impl by hand",
        ));
    };
    let wanted = named.value();
    let member = match &of.fields {
        Fields::Named(fields) => fields
            .named
            .iter()
            .filter_map(|field| field.ident.clone())
            .find(|name| name.to_string().trim_start_matches("r#") == wanted)
            .map(Member::Named),
        Fields::Unnamed(fields) => (0..fields.unnamed.len())
            .find(|index| index.to_string() == wanted)
            .map(|index| Member::Unnamed(Index::from(index))),
        Fields::Unit => None,
    };
    let member = member.ok_or_else(|| Error::new(named.span(), no_field(&wanted, &of.fields)))?;
    Ok(quote_spanned! {named.span()=>
        ::std::option::Option::Some(::std::string::ToString::to_string(&self.#member))
    })
}

fn no_field(wanted: &str, fields: &Fields) -> String {
    let names: Vec<String> = fields
        .members()
        .map(|member| match member {
            Member::Named(name) => name.to_string(),
            Member::Unnamed(index) => index.index.to_string(),
        })
        .collect();
    if names.is_empty() {
        return format!("there is no field `{wanted}`, nor any other; leave the key out");
    }
    let by_name = matches!(fields, Fields::Named(_));
    let near = suggest::nearest(wanted, names.iter().map(String::as_str)).filter(|_| by_name);
    match near {
        Some(near) => format!("there is no field `{wanted}`; did you mean `{near}`?"),
        None => format!("there is no field `{wanted}`; known: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<TokenStream> {
        expand(&syn::parse_str(text).expect("a type"))
    }

    fn check(attribute: &str, said: &str) {
        let text = format!("#[event({attribute})] struct OrderPlaced {{ order: u64, total: u64 }}");
        let refusal = parsed(&text).expect_err(attribute).to_string();
        assert_eq!(refusal, said);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_remedy() {
        check(
            "kind = \"x\"",
            "unknown setting `kind`; known: type, topic, version, source, key",
        );
        check(
            "topics = \"x\"",
            "unknown setting `topics`; did you mean `topic`?",
        );
        check(
            "topic = \"my orders\"",
            "the topic \"my orders\" has the character ' '; use 1 to 128 letters, digits and . _ - : /",
        );
        check(
            "type = \"\"",
            "the type of an event is 0 bytes long; use 1 to 255 bytes",
        );
        check(
            "source = \"a\\nb\"",
            "the source \"a\\nb\" of an event has a control character; use printable characters",
        );
        check("version = 0", "0 is out of range; give 1 to 4294967295");
        check(
            "key = \"oder\"",
            "there is no field `oder`; did you mean `order`?",
        );
        check(
            "key = \"customer\"",
            "there is no field `customer`; known: order, total",
        );
        check(
            "topic = \"a\", topic = \"b\"",
            "`topic` is given twice; give it once",
        );
        check(
            "type = \"order placed\"",
            "the topic \"order placed\" has the character ' '; use 1 to 128 letters, digits and . _ - : /, or name it with #[event(topic = \"…\")]",
        );
    }

    #[test]
    fn a_key_needs_a_field() {
        let refusal = |text| parsed(text).expect_err(text).to_string();
        assert_eq!(
            refusal("#[event(key = \"0\")] enum Both { A(u64), B(u64) }"),
            "only a struct has a field for a key; write the impl by hand"
        );
        assert_eq!(
            refusal("#[event(key = \"0\")] struct Tick;"),
            "there is no field `0`, nor any other; leave the key out"
        );
        assert_eq!(
            refusal("#[event(key = \"2\")] struct Moved(u64, u64);"),
            "there is no field `2`; known: 0, 1"
        );
    }

    #[test]
    fn what_is_given_is_written_out() {
        let written = |text| parsed(text).expect(text).to_string();
        let code = written("struct OrderPlaced { order: u64 }");
        for part in [
            "TYPE : & 'static str = \"order-placed\"",
            "TOPIC : & 'static str = \"order-placed\"",
            "VERSION : u32 = 1u32",
            "SOURCE : & 'static str = \"posthaste\"",
            "Option :: None",
        ] {
            assert!(code.contains(part), "{part} is not in {code}");
        }
        let code = written(
            "#[event(type = \"a.b\", topic = \"t\", version = 3, key = \"type\")] struct A { r#type: u8 }",
        );
        for part in ["\"a.b\"", "\"t\"", "3u32", "& self . r#type"] {
            assert!(code.contains(part), "{part} is not in {code}");
        }
        assert!(written("#[event(key = \"1\")] struct B(u8, u8);").contains("& self . 1"));
    }
}
