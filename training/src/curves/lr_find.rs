//! The picture of a learning-rate range test: losses over rates, these by their powers of ten.
//!
//! Not for what is suggested. Invariant: the same points give the same bytes.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use egofx::durable;

use super::svg::{Area, Axes, escaped, label, polyline, range, text, ticks};
use super::{CurvesError, Point};

const SIZE: [f64; 2] = [720.0, 420.0];
const AREA: Area = Area { left: 70.0, top: 46.0, width: 630.0, height: 322.0 };
const COLOUR: &str = "#d55e00";

/// Draws points of rate, loss and smoothed loss into the SVG at `path`, and the rate that is suggested.
///
/// # Errors
/// [`CurvesError::Nothing`], [`CurvesError::Io`].
pub fn draw(points: &[[f64; 3]], suggestion: Option<f64>, path: &Path) -> Result<(), CurvesError> {
    if points.is_empty() {
        return Err(CurvesError::Nothing { runs: 1 });
    }
    let svg = picture(points, suggestion);
    durable::write_bytes(path, svg.as_bytes()).map_err(|cause| CurvesError::Io {
        what: "write",
        path: path.to_owned(),
        cause,
    })
}

fn picture(points: &[[f64; 3]], suggestion: Option<f64>) -> String {
    let of = |column: usize| -> Vec<Point> { points.iter().map(|point| (point[0].log10(), point[column])).collect() };
    let (losses, smoothed) = (of(1), of(2));
    let axes = Axes { area: AREA, epochs: range(losses.iter().map(|point| point.0)), values: values(points) };
    let [width, height] = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    grid(&mut svg, &axes);
    for (line, style) in [(losses, "0.8\" stroke-opacity=\"0.45"), (smoothed, "2.4")] {
        polyline(&mut svg, &axes, &within(&axes, line), &format!("stroke=\"{COLOUR}\" stroke-width=\"{style}\""));
    }
    let words = match suggestion {
        Some(lr) => {
            mark(&mut svg, &axes, lr.log10());
            format!("loss over learning rate; bold: smoothed; suggested: {lr:.2e}")
        }
        None => "loss over learning rate; bold: smoothed; no suggestion".to_owned(),
    };
    let _ = writeln!(svg, "<text x=\"70\" y=\"28\" font-size=\"14\" font-weight=\"bold\">{}</text>", escaped(&words));
    svg + "</svg>\n"
}

/// All losses up to the least of the smoothed ones: by how much they rise behind it is not worth the room.
fn values(points: &[[f64; 3]]) -> Range<f64> {
    let least = (0..points.len()).min_by(|&one, &other| points[one][2].total_cmp(&points[other][2])).unwrap_or(0);
    range(points[..=least].iter().flat_map(|point| [point[1], point[2]]))
}

/// A line up to where it leaves the picture.
fn within(axes: &Axes, line: Vec<Point>) -> Vec<Point> {
    let end = line.iter().position(|point| point.1 > axes.values.end).map_or(line.len(), |place| place + 1);
    let clamped = |(rate, loss): Point| (rate, loss.clamp(axes.values.start, axes.values.end));
    line.into_iter().take(end).map(clamped).collect()
}

fn grid(svg: &mut String, axes: &Axes) {
    let Area { left, top, width, height } = AREA;
    let (right, bottom) = (left + width, top + height);
    let (values, step) = ticks(&axes.values, 6);
    for value in values {
        let y = axes.y(value);
        let _ = writeln!(svg, "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#e3e3e3\"/>");
        text(svg, [left - 6.0, y + 4.0], "end", 12.0, &label(value, step));
    }
    for power in (axes.epochs.start.ceil() as i32)..=(axes.epochs.end.floor() as i32) {
        let x = axes.x(f64::from(power));
        let _ = writeln!(svg, "<path d=\"M{x:.1} {bottom:.1}v4\" stroke=\"#999\"/>");
        text(svg, [x, bottom + 18.0], "middle", 12.0, &format!("1e{power}"));
    }
    text(svg, [left + width / 2.0, bottom + 38.0], "middle", 13.0, "learning rate");
    let _ = writeln!(svg, "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#999\"/>");
}

fn mark(svg: &mut String, axes: &Axes, power: f64) {
    let (x, top, bottom) = (axes.x(power), AREA.top, AREA.top + AREA.height);
    let _ = writeln!(
        svg,
        "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#222\" stroke-dasharray=\"2 3\"/>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_losses_the_powers_of_ten_and_the_suggestion_are_drawn() {
        let points: Vec<[f64; 3]> = (0..60)
            .map(|step| {
                let step = f64::from(step);
                [10f64.powf(-6.0 + step / 10.0), 5.0 - step / 20.0, 5.1 - step / 20.0]
            })
            .collect();
        // What rises behind the least loss leaves the picture.
        let mut points = points;
        points.extend([[2.0, 90.0, 40.0], [3.0, 900.0, 400.0]]);
        assert!(values(&points).end < 6.0);
        let svg = picture(&points, Some(2e-3));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains(">1e-6<") && svg.contains(">1e-1<") && svg.contains("suggested: 2.00e-3"), "{svg}");
        assert_eq!(svg, picture(&points, Some(2e-3)));
        assert!(picture(&points[..1], None).contains("no suggestion"));
        assert!(draw(&[], None, Path::new("x.svg")).is_err());
    }
}
