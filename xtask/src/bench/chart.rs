//! Bar charts in SVG with a logarithmic scale: rows below one another, in each a bar for every file system. Pure.
//! Called by `report`.
use super::table::figure;
use std::fmt::Write;

/// One bar: which series, and its figure.
pub struct Bar {
    pub series: usize,
    pub value: f64,
}

pub struct Group {
    pub title: String,
    pub bars: Vec<Bar>,
}

pub struct Chart {
    pub title: String,
    /// Names of the series, in the order of the legend.
    pub series: Vec<String>,
    pub groups: Vec<Group>,
}

const WIDTH: f64 = 960.0;
/// Room for the rows' titles on the left and for the figures on the right.
const LEFT: f64 = 290.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 64.0;
const BAR: f64 = 11.0;
const GAP: f64 = 12.0;
/// Told apart also by those who do not see all colours (Okabe and Ito), DFS's strongest.
const COLOURS: [&str; 7] = [
    "#999999", "#56b4e9", "#d55e00", "#009e73", "#66c2a5", "#e69f00", "#cc79a7",
];

impl Chart {
    /// Nothing, when there is no figure that a logarithm can show.
    pub fn draw(&self) -> Option<String> {
        let values = || {
            self.groups
                .iter()
                .flat_map(|group| &group.bars)
                .map(|bar| bar.value)
        };
        let shown = || values().filter(|value| *value > 0.0);
        let least = shown().reduce(f64::min)?.log10().floor();
        let most = shown().reduce(f64::max)?.log10().ceil().max(least + 1.0);
        let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * (value.log10() - least) / (most - least);
        let height: f64 = TOP
            + self
                .groups
                .iter()
                .map(|g| g.bars.len() as f64 * BAR + GAP)
                .sum::<f64>()
            + 24.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escaped(&self.title)
        );
        // Writing into a String cannot fail.
        let _ = self.legend(&mut svg);
        let _ = scale(&mut svg, least as i32, most as i32, height, &x);
        let mut y = TOP;
        for group in &self.groups {
            let _ = self.group(&mut svg, group, y, &x);
            y += group.bars.len() as f64 * BAR + GAP;
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }

    fn colour(&self, series: usize) -> &'static str {
        COLOURS[series % COLOURS.len()]
    }

    fn legend(&self, svg: &mut String) -> std::fmt::Result {
        let mut x = 8.0;
        for (number, name) in self.series.iter().enumerate() {
            let colour = self.colour(number);
            writeln!(
                svg,
                "<rect x=\"{x}\" y=\"32\" width=\"11\" height=\"11\" fill=\"{colour}\"/>"
            )?;
            writeln!(svg, "<text x=\"{}\" y=\"42\">{}</text>", x + 15.0, escaped(name))?;
            x += 40.0 + 7.0 * name.len() as f64;
        }
        Ok(())
    }

    fn group(&self, svg: &mut String, group: &Group, y: f64, x: &impl Fn(f64) -> f64) -> std::fmt::Result {
        let middle = y + group.bars.len() as f64 * BAR / 2.0 + 4.0;
        let title = escaped(&group.title);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{title}</text>",
            LEFT - 8.0
        )?;
        for (number, bar) in group.bars.iter().enumerate().filter(|(_, bar)| bar.value > 0.0) {
            let (top, end) = (y + number as f64 * BAR, x(bar.value));
            let (width, colour) = ((end - LEFT).max(1.0), self.colour(bar.series));
            writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>",
                BAR - 1.5
            )?;
            let (after, base) = (end.max(LEFT) + 4.0, top + BAR - 2.5);
            writeln!(
                svg,
                "<text x=\"{after:.1}\" y=\"{base}\" font-size=\"9\">{}</text>",
                figure(bar.value)
            )?;
        }
        Ok(())
    }
}

/// A line and a label for each power of ten.
fn scale(svg: &mut String, least: i32, most: i32, height: f64, x: &impl Fn(f64) -> f64) -> std::fmt::Result {
    for power in least..=most {
        let at = x(10f64.powi(power));
        writeln!(
            svg,
            "<line x1=\"{at:.1}\" y1=\"{}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#dddddd\"/>",
            TOP - 6.0,
            height - 20.0
        )?;
        let label = match power {
            0.. => format!("{}", 10f64.powi(power)),
            _ => format!("{:.*}", power.unsigned_abs() as usize, 10f64.powi(power)),
        };
        writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            height - 7.0
        )?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
