//! The tokens with which Label Studio knows a user.

use std::fmt;
use std::str::FromStr;

/// Token of a user, as Label Studio shows it once on the user's account page. Its text is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// Token that is sent as it is. Label Studio takes it only where `LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN`
    /// or the organization's settings allow it.
    Legacy(String),
    /// Personal access token: a JSON web token that is exchanged for an access token of five minutes.
    Personal(String),
}

const ALLOWED_FORMS: &str = "a personal access token has three parts of letters and digits with dots between them, and a \
     legacy token 40 hexadecimal digits; copy it from \"Account & Settings\" in Label Studio";

impl FromStr for Token {
    type Err = String;

    /// Parses a token. The error text follows the token's name in a sentence and does not repeat it.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // The words with which the header begins are copied along at times.
        let text = ["Token ", "Bearer "]
            .iter()
            .find_map(|word| text.strip_prefix(word))
            .unwrap_or(text)
            .trim();
        if text.is_empty() {
            return Err(format!("is empty; {ALLOWED_FORMS}"));
        }
        if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self::Legacy(text.to_owned()));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let is_part = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte))
        };
        if parts.len() == 3 && parts.iter().all(is_part) {
            return Ok(Self::Personal(text.to_owned()));
        }
        Err(format!(
            "has {} characters and is no token of Label Studio; {ALLOWED_FORMS}",
            text.chars().count()
        ))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy(_) => f.write_str("legacy token"),
            Self::Personal(_) => f.write_str("personal access token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: &str = "0123456789abcdef0123456789abcdef01234567";
    const PERSONAL: &str = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl-_";

    #[test]
    fn tokens_are_known_by_their_form() {
        for text in [LEGACY.to_owned(), format!(" {LEGACY}\n"), format!("Token {LEGACY}")] {
            assert_eq!(text.parse(), Ok(Token::Legacy(LEGACY.to_owned())), "{text}");
        }
        for text in [PERSONAL.to_owned(), format!("Bearer {PERSONAL}\r\n")] {
            assert_eq!(text.parse(), Ok(Token::Personal(PERSONAL.to_owned())), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_without_being_repeated() {
        for text in ["", "  ", "secret", "a.b", "a..b", "a.b.c.d", &LEGACY[1..], "a.b c.d"] {
            let error = text.parse::<Token>().unwrap_err();
            assert!(error.contains("legacy token 40 hexadecimal digits"), "{error}");
            assert!(text.len() < 4 || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn the_text_of_a_token_is_never_shown() {
        let tokens: Vec<Token> = vec![LEGACY.parse().unwrap(), PERSONAL.parse().unwrap()];
        assert_eq!(format!("{tokens:?}"), "[legacy token, personal access token]");
    }
}
