//! A QR code's text as an image.

use png::{BitDepth, ColorType, Encoder};
use qrcode::render::svg;
use qrcode::{Color, EcLevel, QrCode};

use super::problem::{Answer, Problem};

/// Pixels per module: large enough for a phone's camera before a screen.
const SCALE: usize = 8;
/// White modules around the code that the standard asks for.
const QUIET: usize = 4;
const SVG_PIXELS_MIN: u32 = 360;

fn code(text: &str) -> Answer<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| Problem::internal(format!("QR code: {error}")))
}

/// As SVG.
pub fn svg(text: &str) -> Answer<String> {
    Ok(code(text)?
        .render::<svg::Color<'_>>()
        .min_dimensions(SVG_PIXELS_MIN, SVG_PIXELS_MIN)
        .quiet_zone(true)
        .build())
}

/// As PNG, one bit per pixel.
pub fn png(text: &str) -> Answer<Vec<u8>> {
    let code = code(text)?;
    let modules = code.to_colors();
    let width = code.width();
    let side = (width + 2 * QUIET) * SCALE;
    let row_bytes = side.div_ceil(8);
    // A set bit is white.
    let mut pixels = vec![0xFF_u8; row_bytes * side];
    for (index, _) in modules
        .iter()
        .enumerate()
        .filter(|(_, color)| **color == Color::Dark)
    {
        let (top, left) = ((index / width + QUIET) * SCALE, (index % width + QUIET) * SCALE);
        for y in top..top + SCALE {
            for x in left..left + SCALE {
                pixels[y * row_bytes + x / 8] &= !(0x80 >> (x % 8));
            }
        }
    }
    encode(side, &pixels).map_err(|error| Problem::internal(format!("PNG: {error}")))
}

fn encode(side: usize, pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut image = Vec::new();
    // A QR code has at most 177 modules a side, so the side fits.
    let mut encoder = Encoder::new(&mut image, side as u32, side as u32);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::One);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "2@AbCdEf0123456789+/=,AbCdEf0123456789,AbCdEf0123456789,AbCdEf0123456789";

    #[test]
    fn a_png_is_read_back_by_a_scanner() {
        let image = png(TEXT).unwrap();
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(image))
            .read_info()
            .unwrap();
        let (side, row_bytes) = (
            reader.info().width as usize,
            reader.output_line_size(reader.info().width).unwrap(),
        );
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
            if pixels[y * row_bytes + x / 8] & (0x80 >> (x % 8)) == 0 {
                0
            } else {
                255
            }
        });
        let grids = image.detect_grids();
        assert_eq!(grids[0].decode().unwrap().1, TEXT);
    }

    #[test]
    fn an_svg_is_made() {
        let image = svg(TEXT).unwrap();
        assert!(image.contains("<svg") && image.contains("</svg>"));
    }
}
