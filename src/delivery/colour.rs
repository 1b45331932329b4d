//! CSS colours in URL options.
//!
//! The crate `csscolorparser` is not used: it accepts notations that are rejected here (hex digits without `#`, `hwb()`,
//! `lab()`, angles in turns), and it returns channels, while the URL needs the colour as it was written.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Encodes a CSS colour as the value of a URL option, in lower case; `None` if the text is not a colour.
///
/// Accepted are `#rgb`, `#rgba`, `#rrggbb`, `#rrggbbaa`, named colours, `transparent`, and `rgb()`, `rgba()`, `hsl()` and
/// `hsla()` with three or four numbers.
pub fn encode(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let colour = match (text.strip_prefix('#'), text.strip_suffix(')').and_then(|text| text.split_once('(')))
    {
        (Some(digits), _) => is_hex(digits).then_some(text)?,
        (None, Some((function, arguments))) => function_notation(function, arguments)?,
        (None, None) => NAMED_COLOURS.split_whitespace().any(|name| name == text).then_some(text)?,
    };
    Some(utf8_percent_encode(&colour, NON_ALPHANUMERIC).to_string())
}

fn is_hex(digits: &str) -> bool {
    matches!(digits.len(), 3 | 4 | 6 | 8) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A colour function with its arguments separated by commas: URL options must not contain spaces.
fn function_notation(function: &str, arguments: &str) -> Option<String> {
    let parts: Vec<&str> = arguments.split([',', '/', ' ']).filter(|part| !part.is_empty()).collect();
    let units: [&str; 3] = match function {
        "rgb" | "rgba" => ["%", "%", "%"],
        "hsl" | "hsla" => ["deg", "%", "%"],
        _ => return None,
    };
    let hsl = function.starts_with("hsl");
    let is_colour = matches!(parts.len(), 3 | 4)
        && parts.iter().enumerate().all(|(i, part)| {
            let without_unit = part.strip_suffix(units.get(i).copied().unwrap_or("%"));
            // Saturation and lightness must be percentages.
            let number = if hsl && matches!(i, 1 | 2) { without_unit } else { without_unit.or(Some(part)) };
            number.is_some_and(is_number)
        });
    is_colour.then(|| format!("{function}({})", parts.join(",")))
}

fn is_number(text: &str) -> bool {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    is_decimal && text.len() <= 16 && text.parse::<f64>().is_ok()
}

/// The named colours of CSS.
const NAMED_COLOURS: &str = "aliceblue antiquewhite aqua aquamarine azure beige bisque black blanchedalmond blue blueviolet \
    brown burlywood cadetblue chartreuse chocolate coral cornflowerblue cornsilk crimson cyan darkblue darkcyan \
    darkgoldenrod darkgray darkgreen darkgrey darkkhaki darkmagenta darkolivegreen darkorange darkorchid darkred \
    darksalmon darkseagreen darkslateblue darkslategray darkslategrey darkturquoise darkviolet deeppink deepskyblue \
    dimgray dimgrey dodgerblue firebrick floralwhite forestgreen fuchsia gainsboro ghostwhite gold goldenrod gray \
    green greenyellow grey honeydew hotpink indianred indigo ivory khaki lavender lavenderblush lawngreen \
    lemonchiffon lightblue lightcoral lightcyan lightgoldenrodyellow lightgray lightgreen lightgrey lightpink \
    lightsalmon lightseagreen lightskyblue lightslategray lightslategrey lightsteelblue lightyellow lime limegreen \
    linen magenta maroon mediumaquamarine mediumblue mediumorchid mediumpurple mediumseagreen mediumslateblue \
    mediumspringgreen mediumturquoise mediumvioletred midnightblue mintcream mistyrose moccasin navajowhite navy \
    oldlace olive olivedrab orange orangered orchid palegoldenrod palegreen paleturquoise palevioletred papayawhip \
    peachpuff peru pink plum powderblue purple rebeccapurple red rosybrown royalblue saddlebrown salmon sandybrown \
    seagreen seashell sienna silver skyblue slateblue slategray slategrey snow springgreen steelblue tan teal thistle \
    tomato transparent turquoise violet wheat white whitesmoke yellow yellowgreen";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_canonical_and_encoded() {
        for (text, expected) in [
            ("#FA0", Some("%23fa0")),
            ("#00ff0080", Some("%2300ff0080")),
            ("RebeccaPurple", Some("rebeccapurple")),
            ("rgb(240 40 145 / 50%)", Some("rgb%28240%2C40%2C145%2C50%25%29")),
            ("rgb(240, 40,145)", Some("rgb%28240%2C40%2C145%29")),
            ("hsl(90deg, 50%, 50%)", Some("hsl%2890deg%2C50%25%2C50%25%29")),
            ("hsl(90, 50, 50)", None),
            ("rgb(1,2)", None),
            ("rgb(1,2,inf)", None),
            ("#12345", None),
            ("#ää", None),
            ("redd", None),
            ("red,w=1", None),
            ("", None),
        ] {
            assert_eq!(encode(text).as_deref(), expected, "{text}");
        }
    }
}
