//! `Accept`: which of the types that a route can produce the client likes best.

use axum::http::{HeaderMap, header};
use roost_domain::ErrorCode;

use super::problem::{Answer, Problem};

/// The offer that the client likes best; the first one when it does not say. 406 when it accepts
/// none.
pub fn choose(headers: &HeaderMap, offers: &[&'static str]) -> Answer<&'static str> {
    let values: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let ranges: Vec<(&str, u16)> = values
        .iter()
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .collect();
    if ranges.is_empty() {
        return Ok(offers[0]);
    }
    let best = offers
        .iter()
        .rev()
        .map(|offer| (quality(&ranges, offer), *offer))
        .filter(|(quality, _)| *quality > 0)
        .max_by_key(|(quality, _)| *quality);
    best.map(|(_, offer)| offer).ok_or_else(|| {
        Problem::new(
            ErrorCode::NotAcceptable,
            format!("this route produces {}", offers.join(", ")),
        )
    })
}

/// A media range and its quality in thousandths.
fn range(text: &str) -> Option<(&str, u16)> {
    let (media, parameters) = text.split_once(';').unwrap_or((text, ""));
    let media = media.trim();
    let quality = parameters
        .split(';')
        .find_map(|parameter| parameter.trim().strip_prefix("q="))
        .map_or(Some(1.0), |text| text.parse::<f32>().ok())?;
    // The clamp makes the cast exact.
    (!media.is_empty()).then_some((media, (quality.clamp(0.0, 1.0) * 1000.0) as u16))
}

/// The most specific range that covers the offer decides.
fn quality(ranges: &[(&str, u16)], offer: &str) -> u16 {
    let main = offer.split('/').next().unwrap_or_default();
    ranges
        .iter()
        .filter_map(|(media, quality)| {
            let specific = if media.eq_ignore_ascii_case(offer) {
                3
            } else if media
                .strip_suffix("/*")
                .is_some_and(|wanted| wanted.eq_ignore_ascii_case(main))
            {
                2
            } else if *media == "*/*" {
                1
            } else {
                return None;
            };
            Some((specific, *quality))
        })
        .max_by_key(|(specific, _)| *specific)
        .map_or(0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_best_liked_offer_is_chosen() {
        let offers = ["application/json", "image/png", "image/svg+xml"];
        for (accept, chosen) in [
            ("", Some("application/json")),
            ("*/*", Some("application/json")),
            ("image/png", Some("image/png")),
            ("image/*", Some("image/png")),
            ("image/svg+xml, image/png;q=0.5", Some("image/svg+xml")),
            ("text/html, image/*;q=0.8, */*;q=0.1", Some("image/png")),
            ("application/json;q=0, */*", Some("image/png")),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(choose(&headers, &offers).ok(), chosen, "{accept}");
        }
        assert_eq!(choose(&HeaderMap::new(), &offers).unwrap(), "application/json");
    }
}
