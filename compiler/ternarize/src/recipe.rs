//! Recipes: what weights are first rounded to, and what mends it, as text such as
//! `gptq+cd+compensate{group=128,planes=2}`.
//!
//! Steps run in the order that the maths wants, however they are written: the weights to be met are moved first
//! (`compensate`), then columns are scaled, then the projection rounds, then refinements run as written, and a
//! bias comes last.

use super::codebook::{Codebook, MAX_PLANES};
use super::method::{Projection, Role};
use super::{Alphabet, Method, Refusal, Tier};

/// Steps and their settings. Text and back is the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// As written.
    steps: Vec<&'static Method>,
    pub settings: Settings,
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $ty:ty = $default:expr, $least:expr => $most:expr, $expects:literal;)*) => {
        /// The numbers that steps take.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $($(#[doc = $doc])* pub $name: $ty,)*
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($name: $default,)* }
            }
        }

        /// Options by name, with a line about each.
        pub const OPTIONS: &[(&str, &str)] = &[$((stringify!($name), concat!($($doc),*).trim_ascii()),)*];

        impl Settings {
            fn set(&mut self, name: &str, text: &str) -> Result<(), Refusal> {
                match name {
                    $(stringify!($name) => {
                        let bad = || Refusal::BadValue {
                            option: stringify!($name),
                            value: text.escape_debug().to_string(),
                            expects: $expects,
                        };
                        let value: $ty = text.parse().map_err(|_| bad())?;
                        if !($least..=$most).contains(&value) {
                            return Err(bad());
                        }
                        self.$name = value;
                    })*
                    _ => {
                        let known: Vec<_> = OPTIONS.iter().map(|o| o.0).collect();
                        let name = name.escape_debug().to_string();
                        return Err(Refusal::UnknownOption { name, known: known.join(", ") });
                    }
                }
                Ok(())
            }

            /// Those that are not as they are by default, by name.
            pub fn changed(&self) -> Vec<(&'static str, String)> {
                let default = Settings::default();
                let mut all = vec![];
                $(if self.$name != default.$name {
                    all.push((stringify!($name), self.$name.to_string()));
                })*
                all
            }
        }
    };
}

settings! {
    /// Weights of a row that a scale serves; 0 for the whole row.
    group: usize = 0, 0 => usize::MAX, "a number of weights";
    /// Planes of trits.
    planes: usize = 1, 1 => MAX_PLANES, "a number of planes, 1 to 4";
    /// Bits of a scale, 16 or 32.
    scales: ScaleBits = ScaleBits::Single, ScaleBits::Half => ScaleBits::Single, "16 or 32";
    /// What is added to the diagonal of the inputs' second moments, relative to its mean.
    damp: f64 = 0.01, 1e-6 => 1.0, "a share, 0.000001 to 1";
    /// Sweeps of coordinate descent.
    sweeps: usize = 3, 1 => 100, "a number of sweeps, 1 to 100";
    /// Iterations of splitting methods.
    iterations: usize = 40, 1 => 1000, "a number of iterations, 1 to 1000";
    /// The weight of dead weights in their bias.
    lambda: f64 = 1e-3, 0.0 => 1.0, "a weight, 0 to 1";
    /// How far compensation moves the weights, 0 to 1.
    share: f64 = 0.5, 0.0 => 1.0, "a share, 0 to 1";
    /// The power of `H_jj` that scales a column.
    exponent: f64 = 0.125, 0.0 => 0.5, "a power, 0 to 0.5";
    /// Whether rows are rounded at unit length, which their scales take back.
    normalize_rows: bool = false, false => true, "true or false";
    /// What a zero costs where binary and ternary are compared.
    gamma: f64 = 0.15, 0.0 => 10.0, "a cost, 0 to 10";
}

/// Numbers that scales are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum ScaleBits {
    /// f16.
    Half,
    /// f32.
    Single,
}

impl Recipe {
    /// The steps, joined by `+`, with default settings.
    pub fn new(steps: &str) -> Result<Recipe, Refusal> {
        let named = |name: &str| match name.trim() {
            "" => Err(Refusal::Malformed(steps.escape_debug().to_string())),
            name => Method::named(name),
        };
        let steps: Vec<_> = steps.split('+').map(named).collect::<Result<_, _>>()?;
        let mut recipe = Recipe { steps, settings: Settings::default() };
        if let Some(Projection::Rows { planes, .. }) = recipe.named_projection().map(projection) {
            recipe.settings.planes = *planes.start();
        }
        recipe.check_steps()?;
        Ok(recipe)
    }

    /// The same with a setting, one of [`OPTIONS`].
    pub fn with(mut self, option: &str, value: &str) -> Result<Recipe, Refusal> {
        self.settings.set(option.trim(), value.trim())?;
        self.check_steps()?;
        Ok(self)
    }

    /// The steps, joined by `+`.
    pub fn name(&self) -> String {
        self.steps.iter().map(|m| m.name).collect::<Vec<_>>().join("+")
    }

    pub fn steps(&self) -> &[&'static Method] {
        &self.steps
    }

    /// Whether statistics are needed to apply it.
    pub fn needs_calibration(&self) -> bool {
        self.steps.iter().any(|m| m.tier == Tier::Calibrated)
    }

    /// Whether those statistics must be of pairs.
    pub fn needs_pairs(&self) -> bool {
        self.steps.iter().any(|m| matches!(m.role, Role::Target(_) | Role::Bias { paired: true, .. }))
    }

    /// The recipe without biases that are fitted to inputs, and one of those alone if there are any.
    pub fn split_bias(&self) -> (Recipe, Option<Recipe>) {
        let is_fitted =
            |m: &&'static Method| matches!(m.role, Role::Bias { .. }) && m.tier == Tier::Calibrated;
        let (bias, rest): (Vec<_>, Vec<_>) = self.steps.iter().copied().partition(is_fitted);
        let with = |steps| Recipe { steps, settings: self.settings.clone() };
        let bias = (!bias.is_empty()).then(|| with(bias));
        (with(rest), bias)
    }

    /// The same with another number of planes, and another projection if one is named; what the recipe names stays
    /// where it can make so many.
    pub fn at(&self, projection: Option<&str>, planes: usize) -> Result<Recipe, Refusal> {
        let mut steps: Vec<_> = self.steps.iter().copied().filter(|m| !m.is_projection()).collect();
        match (projection, self.named_projection()) {
            (Some(name), _) => steps.push(Method::named(name)?),
            (None, Some(own)) if can_make(own, planes) => steps.push(own),
            _ => {}
        }
        if planes == 1 && steps.is_empty() {
            steps.push(&super::project::exact::METHOD);
        } else if steps.is_empty() {
            steps.push(&super::project::planes::METHOD);
        }
        let recipe = Recipe { steps, settings: Settings { planes, ..self.settings.clone() } };
        recipe.check_steps()?;
        Ok(recipe)
    }

    /// What weights are first rounded to.
    pub(super) fn projection(&self) -> &'static Method {
        let default = if self.settings.planes > 1 {
            &super::project::planes::METHOD
        } else {
            &super::project::exact::METHOD
        };
        self.named_projection().unwrap_or(default)
    }

    fn named_projection(&self) -> Option<&'static Method> {
        self.steps.iter().copied().find(|m| m.is_projection())
    }

    /// Weights that a scale serves in rows of `k`.
    pub(super) fn group(&self, k: usize) -> usize {
        if self.settings.group == 0 { k } else { self.settings.group.min(k) }
    }

    fn check_steps(&self) -> Result<(), Refusal> {
        if self.settings.normalize_rows
            && let Some(why) = self.mixes_rows()
        {
            return Err(Refusal::CannotNormalize { method: self.projection().name, why });
        }
        let projections: Vec<_> = self.steps.iter().filter(|m| m.is_projection()).collect();
        if let [first, second, ..] = projections[..] {
            return Err(Refusal::TwoProjections { first: first.name, second: second.name });
        }
        for (i, step) in self.steps.iter().enumerate() {
            if self.steps[..i].contains(step) {
                return Err(Refusal::Twice(step.name));
            }
            if step.tier == Tier::Trained {
                return Err(Refusal::Trained { method: step.name });
            }
        }
        let base = self.projection();
        let cannot =
            |step: &Method, why| Err(Refusal::CannotFollow { step: step.name, projection: base.name, why });
        let Some(mut codebook) = self.codebook()? else { return Ok(()) };
        for step in &self.steps {
            match &step.role {
                Role::Refine(refinement) => {
                    if refinement.moves_codes && keeps_pattern(base) {
                        return cannot(step, "it would put zeros elsewhere");
                    }
                    if let Some(why) = (refinement.refuses)(&codebook) {
                        return cannot(step, why);
                    }
                    if step.name == super::refine::offset::METHOD.name {
                        codebook = codebook.with_offset();
                    }
                }
                Role::Bias { .. }
                    if step.tier == Tier::Weights && codebook.alphabets() == [Alphabet::Binary] =>
                {
                    return cannot(step, "no weight is dead");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Why rows of other lengths would be rounded otherwise, if they would.
    fn mixes_rows(&self) -> Option<&'static str> {
        match projection(self.projection()) {
            Projection::Cells { whole: true, .. } if self.settings.group == 0 => {
                Some("it gives all rows one scale; with groups it does not")
            }
            Projection::Choose(_) => Some("it looks at the weights of all rows together"),
            _ => None,
        }
    }

    /// What the projection rounds to, if it does not depend on the weights.
    fn codebook(&self) -> Result<Option<Codebook>, Refusal> {
        let wrong = |expects| {
            let value = self.settings.planes.to_string();
            Err(Refusal::BadValue { option: "planes", value, expects })
        };
        let planes = self.settings.planes;
        match projection(self.projection()) {
            Projection::Cells { binary, .. } => {
                let alphabet = if *binary { Alphabet::Binary } else { Alphabet::Ternary };
                Ok(Some(Codebook::planes(alphabet, planes, false)))
            }
            Projection::Rows { planes: allowed, .. } if !allowed.contains(&planes) => match allowed.end() {
                1 => wrong("1 for this method, which rounds to one plane"),
                _ => wrong("2 to 4 for this method"),
            },
            Projection::Rows { codebook, .. } => Ok(Some(codebook(planes))),
            Projection::Choose(_) if planes > 1 => wrong("1 for this method, which rounds to one plane"),
            Projection::Choose(_) => Ok(None),
        }
    }
}

/// What a method that is a projection does.
pub(super) fn projection(method: &'static Method) -> &'static Projection {
    match &method.role {
        Role::Project(projection) => projection,
        _ => projection(&super::project::exact::METHOD),
    }
}

fn can_make(method: &'static Method, planes: usize) -> bool {
    match projection(method) {
        Projection::Cells { .. } => true,
        Projection::Rows { planes: allowed, .. } => allowed.contains(&planes),
        Projection::Choose(_) => planes == 1,
    }
}

fn keeps_pattern(method: &'static Method) -> bool {
    matches!(projection(method), Projection::Cells { keeps_pattern: true, .. })
}

impl std::str::FromStr for Recipe {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Recipe, Refusal> {
        let malformed = || Refusal::Malformed(text.escape_debug().to_string());
        let Some((steps, options)) = text.trim().split_once('{') else { return Recipe::new(text) };
        let options = options.strip_suffix('}').ok_or_else(malformed)?;
        let mut recipe = Recipe::new(steps)?;
        for option in options.split(',').filter(|o| !o.trim().is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(malformed)?;
            recipe = recipe.with(name, value)?;
        }
        Ok(recipe)
    }
}

impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.name())?;
        let changed = self.settings.changed();
        if changed.is_empty() {
            return Ok(());
        }
        let options: Vec<_> = changed.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "{{{}}}", options.join(","))
    }
}

impl std::str::FromStr for ScaleBits {
    type Err = ();

    fn from_str(text: &str) -> Result<ScaleBits, ()> {
        match text {
            "16" => Ok(ScaleBits::Half),
            "32" => Ok(ScaleBits::Single),
            _ => Err(()),
        }
    }
}

impl std::fmt::Display for ScaleBits {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            ScaleBits::Half => "16",
            ScaleBits::Single => "32",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Recipe>().unwrap_err().to_string()
    }

    #[test]
    fn text_and_back_is_the_same() {
        for text in [
            "absmean",
            "exact{group=128}",
            "gptq+cd+compensate{group=128,planes=2}",
            "ptqtp{planes=2}",
            "twn+refit+bias{scales=16,damp=0.05}",
            "gptq{planes=2,normalize_rows=true}",
        ] {
            assert_eq!(text.parse::<Recipe>().unwrap().to_string(), text);
        }
        let spaced: Recipe = " gptq + cd { planes = 3 , sweeps = 5 } ".parse().unwrap();
        assert_eq!(spaced.to_string(), "gptq+cd{planes=3,sweeps=5}");
        let flags = Recipe::new("gptq+cd").unwrap().with("group", "64").unwrap();
        assert_eq!(flags, "gptq+cd{group=64}".parse().unwrap());
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let projection = |text: &str| text.parse::<Recipe>().unwrap().projection().name;
        assert_eq!(projection("gptq+cd"), "exact");
        assert_eq!(projection("gptq+cd{planes=2}"), "ptqtp");
        assert_eq!(projection("cd+twn"), "twn");
        let needs = |text: &str| {
            let recipe: Recipe = text.parse().unwrap();
            (recipe.needs_calibration(), recipe.needs_pairs())
        };
        assert_eq!(needs("exact+tequila"), (false, false));
        assert_eq!(needs("exact+refit"), (true, false));
        assert_eq!(needs("cd+compensate"), (true, true));
    }

    #[test]
    fn wrong_recipes_say_what_is_wrong() {
        assert!(message("absmaen").starts_with("no method `absmaen`; there are "));
        assert!(message("cd{sweep=2}").starts_with("no option `sweep`; there are group, planes"));
        assert_eq!(message("cd{sweeps=none}"), "`sweeps` is a number of sweeps, 1 to 100, not `none`");
        assert_eq!(message("cd{damp=NaN}"), "`damp` is a share, 0.000001 to 1, not `NaN`");
        assert_eq!(message("cd{planes=9}"), "`planes` is a number of planes, 1 to 4, not `9`");
        for text in ["", "+cd", "cd+", "cd{sweeps=1", "cd{sweeps}"] {
            assert!(message(text).starts_with("a recipe is `method+method{option=value,…}`"), "{text}");
        }
        assert_eq!(message("cd+gptq+cd"), "`cd` is named twice");
        assert!(message("twn+absmean").starts_with("`absmean` cannot be with `twn`"));
        assert!(message("ttq").contains("needs training"));
        assert_eq!(message("sparse34+cd"), "`cd` cannot follow `sparse34`: it would put zeros elsewhere");
        assert_eq!(message("binary+tequila"), "`tequila` cannot follow `binary`: no weight is dead");
        assert!(message("three-means+offset").contains("it has one"));
        assert!(message("three-means{planes=2}").contains("`planes` is 1 for this method"));
        assert!(message("ptqtp{planes=1}").contains("`planes` is 2 to 4 for this method"));
    }
}
