// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/manifest"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/text"
	"github.com/goshawk-dev/goshawk/internal/window"
)

// GitHub is the format of annotations in a workflow of GitHub.
const GitHub = "github"

const (
	severityError   = "error"
	severityWarning = "warning"
	// severityNotice is for what depends on the account that applies the manifests. It is also the
	// word of GitHub for it.
	severityNotice = "notice"
)

// finding is one problem of a manifest.
type finding struct {
	Severity  string `json:"severity"`
	File      string `json:"file"`
	Line      int    `json:"line"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field,omitempty"`
	Value     string `json:"value,omitempty"`
	Message   string `json:"message"`
	// Fix says what to do, if the message does not.
	Fix string `json:"fix,omitempty"`
}

// about returns an error about a field of an object.
func about(d *manifest.Document, path, message, fix string) finding {
	return finding{
		Severity: severityError, File: d.File, Line: d.Line(path), Kind: d.Object.GetKind(), Namespace: d.Object.GetNamespace(), Name: d.Object.GetName(),
		Field: path, Value: text.Shorten(d.Value(path), 200), Message: message, Fix: fix,
	}
}

// warning returns a warning about a field of an object.
func warning(d *manifest.Document, path, message, fix string) finding {
	f := about(d, path, message, fix)
	f.Severity = severityWarning
	return f
}

// notParsed returns the finding that a document cannot be parsed.
func notParsed(d *manifest.Document) finding {
	f := finding{Severity: severityError, File: d.File, Line: d.Line(""), Message: d.Err.Error()}
	var line int
	if _, err := fmt.Sscanf(f.Message, "line %d:", &line); err == nil {
		f.Line = line
		_, f.Message, _ = strings.Cut(f.Message, ":")
		f.Message = strings.TrimSpace(f.Message)
	}
	return f
}

// refusals returns the refusals of the API server as findings.
func refusals(d *manifest.Document, errs field.ErrorList) []finding {
	var out []finding
	for _, err := range errs {
		path := err.Field
		if path == "<nil>" {
			path = ""
		}
		f := about(d, path, err.ErrorBody(), "")
		if strings.Contains(f.Message, "unknown field") {
			f.Message, f.Fix = "unknown field", fmt.Sprintf("remove it, or correct its name: `kubectl explain %s.%s` lists the fields", strings.ToLower(f.Kind), parentOf(path))
		}
		out = append(out, f)
	}
	return out
}

// parentOf returns the path of the object that has a field, without indexes.
func parentOf(path string) string {
	if i := strings.LastIndexAny(path, "."); i >= 0 {
		path = path[:i]
	} else {
		return ""
	}
	for {
		from, to := strings.Index(path, "["), strings.Index(path, "]")
		if from < 0 || to < from {
			return path
		}
		path = path[:from] + path[to+1:]
	}
}

// text returns the finding in one line, as compilers print errors.
func (f *finding) text() string {
	line := fmt.Sprintf("%s:%d: %s: %s", f.File, f.Line, f.Severity, f.sentence())
	return line
}

// sentence returns object, field, message and fix.
func (f *finding) sentence() string {
	var out string
	if f.Kind != "" {
		out = f.Kind + " "
		if f.Namespace != "" {
			out += f.Namespace + "/"
		}
		out += f.Name + ": "
	}
	if f.Field != "" {
		out += f.Field + ": "
	}
	out += f.Message
	if f.Fix != "" {
		out += "; " + f.Fix
	}
	return strings.Join(strings.Fields(out), " ")
}

// annotation returns the finding as a command of a GitHub workflow.
func (f *finding) annotation() string {
	escape := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	return fmt.Sprintf("::%s file=%s,line=%d,title=%s::%s", f.Severity, property.Replace(f.File), f.Line, property.Replace(cmp.Or(strings.TrimSpace(f.Kind+" "+f.Name), "manifest")), escape.Replace(f.sentence()))
}

// lintResult is what lint prints as JSON.
type lintResult struct {
	Objects  int       `json:"objects"`
	Errors   int       `json:"errors"`
	Warnings int       `json:"warnings"`
	Notices  int       `json:"notices"`
	Findings []finding `json:"findings"`
}

func newLintCommand(o *Options) *cobra.Command {
	var manifests manifestFlags
	var world worldFlags
	var cluster, strict bool
	var roles []string
	c := &cobra.Command{
		Use:   "lint -f DIR|FILE|-",
		Short: "Check manifests without a cluster",
		Long: "Checks manifests as the API server does: unknown fields, bounds, and the rules of the schema, with\n" +
			"the schema of this version of the plugin. It also finds what no server refuses: a set or a module\n" +
			"that does not exist, a selection that cannot be evaluated or selects nothing, a maintenance window\n" +
			"that never opens, and ${, which Flux replaces.\n\n" +
			"With --targets or --cluster the manifests are compared with the objects that exist: a frozen field\n" +
			"that was changed is found, and so is everything that `kubectl goshawk plan` warns about.\n\n" +
			"A field that needs a further right, such as an approval, is a notice with the right and the role,\n" +
			"because it depends on the account that applies the manifests. With --role it is an error if the\n" +
			"ClusterRoles of that account do not give the right.\n\n" +
			"Exit code 1: there is an error, or with --strict a warning.",
		Example: `  # Check all manifests of a repository
  kubectl goshawk lint -f deploy/

  # In a workflow of GitHub: the problems are shown at their lines
  kubectl goshawk lint -f deploy/ -o github

  # What Flux would apply
  kubectl goshawk lint -k deploy/production

  # Compare with an export, so that frozen fields and empty selections are found
  kubectl goshawk lint -f deploy/ --targets fleet.json.gz --strict

  # May the GitOps tool apply this, with the role of its account?
  kubectl goshawk lint -f deploy/ --targets fleet.json.gz --role goshawk-editor`,
		Args: cobra.NoArgs,
	}
	manifests.add(c)
	c.Flags().StringVar(&world.targets, "targets", "", "file of kubectl goshawk export, to compare with")
	c.Flags().BoolVar(&cluster, "cluster", false, "compare with the objects of the cluster")
	c.Flags().BoolVar(&strict, "strict", false, "warnings are errors")
	c.Flags().StringSliceVar(&roles, "role", nil, "ClusterRole of the account that applies the manifests, such as goshawk-editor; may be repeated")
	_ = c.RegisterFlagCompletionFunc("role", completeRoles)
	f := addFormat(c, Text, JSON, YAML, GitHub)
	c.RunE = func(c *cobra.Command, _ []string) error {
		by, err := newApplier(roles)
		if err != nil {
			return usageError(c, err)
		}
		documents, err := manifests.read(c, o)
		if err != nil {
			return asUnchecked(err)
		}
		var present func(string) ([]client.Object, error)
		if cluster || world.targets != "" {
			if present, err = world.reader(c.Context(), o); err != nil {
				return asUnchecked(err)
			}
		}
		findings, err := o.lint(c.Context(), documents, present, by)
		if err != nil {
			return asUnchecked(err)
		}
		if len(documents) == 0 {
			findings = []finding{manifests.areEmpty()}
		}
		result := lintResult{Objects: len(documents), Findings: append([]finding{}, findings...)}
		for i := range findings {
			switch findings[i].Severity {
			case severityError:
				result.Errors++
			case severityWarning:
				result.Warnings++
			default:
				result.Notices++
			}
		}
		if err := o.print(f, result, func() string { return lintText(&result, f.value) }); err != nil {
			return err
		}
		if result.Errors > 0 || strict && result.Warnings > 0 {
			return &ExitError{Code: 1}
		}
		return nil
	}
	return c
}

// areEmpty returns the warning that nothing was checked.
func (m *manifestFlags) areEmpty() finding {
	paths := slices.Clone(m.files)
	if m.kustomize != "" {
		paths = append(paths, m.kustomize)
	}
	return finding{
		Severity: severityWarning, File: strings.Join(paths, ", "), Line: 1,
		Message: fmt.Sprintf("no object of %s was found", v1alpha1.GroupVersion.Group), Fix: "check the path; of a directory the files .yaml, .yml and .json are read",
	}
}

// asUnchecked gives an error the exit code 2, if it has none: nothing was checked or compared, and
// exit code 1 is a result.
func asUnchecked(err error) error {
	if _, ok := err.(*ExitError); ok || err == nil { //nolint:errorlint // only an error that is returned as it is
		return err
	}
	return &ExitError{Code: CodeUsage, Err: err}
}

func lintText(r *lintResult, format string) string {
	var out strings.Builder
	for i := range r.Findings {
		if format == GitHub {
			out.WriteString(r.Findings[i].annotation() + "\n")
		} else {
			out.WriteString(r.Findings[i].text() + "\n")
		}
	}
	if format != GitHub {
		fmt.Fprintf(&out, "%s: %s, %s", text.Count(r.Objects, "object"), text.Count(r.Errors, "error"), text.Count(r.Warnings, "warning"))
		if r.Notices > 0 {
			out.WriteString(", " + text.Count(r.Notices, "notice"))
		}
		out.WriteString("\n")
	}
	return out.String()
}

// lint returns the problems of the manifests, sorted by file and line.
func (o *Options) lint(ctx context.Context, documents []manifest.Document, present func(string) ([]client.Object, error), by *applier) ([]finding, error) {
	namespace, err := o.Namespace()
	if err != nil {
		return nil, err
	}
	all, findings, err := check(ctx, documents, namespace, present)
	if err != nil {
		return nil, err
	}
	for i := range documents {
		if documents[i].Err == nil {
			findings = append(findings, substitutions(&documents[i])...)
		}
	}
	for i := range all {
		a := &all[i]
		var objects []client.Object
		if present != nil {
			if objects, err = present(a.namespace); err != nil {
				return nil, err
			}
		}
		l := newLinter(a, objects, present != nil)
		findings = append(findings, l.findings(o)...)
		needed, err := l.rights(ctx, by)
		if err != nil {
			return nil, err
		}
		findings = append(findings, needed...)
		if present != nil || slices.ContainsFunc(a.objects, isTarget) {
			planned, err := l.planned(o)
			if err != nil {
				return nil, err
			}
			findings = append(findings, planned...)
		}
	}
	slices.SortStableFunc(findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(findings, func(a, b finding) bool {
		return a.File == b.File && a.Kind == b.Kind && a.Name == b.Name && a.Message == b.Message && a.Severity == b.Severity
	}), nil
}

// substitutions finds ${ in strings: Flux replaces it with a variable, and by an empty text if
// there is none.
func substitutions(d *manifest.Document) []finding {
	var out []finding
	d.Strings(func(path, value string, line int) {
		if strings.Contains(value, "${") {
			f := about(d, path, "the value contains ${, which Flux replaces if its Kustomization has postBuild", "write it in another way; if the variable is meant, check the manifests that `flux build` prints")
			f.Line, f.Value = line, text.Shorten(value, 200)
			out = append(out, f)
		}
	})
	return out
}

// linter checks the objects of one namespace against each other.
type linter struct {
	*applied
	present []client.Object
	// isKnown is true if the objects of the namespace are known.
	isKnown bool
	names   map[objectID]client.Object
}

func newLinter(a *applied, present []client.Object, isKnown bool) *linter {
	l := &linter{applied: a, present: present, isKnown: isKnown, names: map[objectID]client.Object{}}
	for _, o := range slices.Concat(present, a.objects) {
		l.names[objectID{kindOf(o), a.namespace, o.GetName()}] = o
	}
	return l
}

func (l *linter) document(o client.Object) *manifest.Document {
	return l.documents[objectID{kindOf(o), l.namespace, o.GetName()}]
}

// findings returns the problems that need no planner.
func (l *linter) findings(o *Options) []finding {
	var out []finding
	for _, object := range l.objects {
		d := l.document(object)
		switch object := object.(type) {
		case *v1alpha1.Rollout:
			out = append(out, l.update(d, "spec.update", &object.Spec.Update, o)...)
			out = append(out, selection(d, "spec", object.Spec.Selection)...)
			for i := range object.Spec.Groups {
				out = append(out, selection(d, fmt.Sprintf("spec.groups[%d]", i), object.Spec.Groups[i].Selection)...)
			}
		case *v1alpha1.AutoAssignment:
			out = append(out, l.update(d, "spec.update", &object.Spec.Update, o)...)
			out = append(out, selection(d, "spec", object.Spec.Selection)...)
		case *v1alpha1.Target:
			if a := object.Spec.Assignment; a != nil {
				out = append(out, l.update(d, "spec.assignment", &a.Update, o)...)
			}
		case *v1alpha1.DistributionSet:
			for i, m := range object.Spec.Modules {
				out = append(out, l.reference(d, fmt.Sprintf("spec.modules[%d].name", i), "SoftwareModule", m.Name)...)
			}
		case *v1alpha1.DeploymentGroup, *v1alpha1.TargetInventory:
			out = append(out, warning(d, "kind", fmt.Sprintf("Goshawk generates each %s and overwrites it", kindOf(object)), "remove it from the manifests"))
		}
	}
	return append(out, l.weights()...)
}

// update checks the set and the window of an update.
func (l *linter) update(d *manifest.Document, path string, u *v1alpha1.Update, o *Options) []finding {
	var out []finding
	if u.DistributionSet != "" {
		out = l.reference(d, path+".distributionSet", "DistributionSet", u.DistributionSet)
	}
	if err := window.Check(u.MaintenanceWindow, o.Now()); err != nil {
		name, _, _ := strings.Cut(err.Error(), " ")
		out = append(out, about(d, path+".maintenanceWindow."+name, err.Error(), ""))
	}
	return out
}

// reference checks that an object exists. If the objects of the namespace are not known, it may
// exist there.
func (l *linter) reference(d *manifest.Document, path, kind, name string) []finding {
	if l.names[objectID{kind, l.namespace, name}] != nil {
		return nil
	}
	if l.isKnown {
		return []finding{about(d, path, fmt.Sprintf("there is no %s %s in namespace %s", kind, name, l.namespace), "create it, or correct the name")}
	}
	return []finding{warning(d, path, fmt.Sprintf("%s %s is not among the manifests", kind, name), "create it, or correct the name; --cluster or --targets looks for it among the objects that exist")}
}

// selection checks that the selection of targets can be evaluated.
func selection(d *manifest.Document, path string, s v1alpha1.Selection) []finding {
	if _, err := query.Compile(s, nil); err != nil {
		name, message, _ := strings.Cut(err.Error(), ", ")
		if message == "" {
			name, message, _ = strings.Cut(err.Error(), ": ")
		}
		return []finding{about(d, path+"."+name, cmp.Or(message, err.Error()), "")}
	}
	return nil
}

// weights finds queued rollouts of the same set name of which the newer one goes first: the device
// would end with the older set.
func (l *linter) weights() []finding {
	var out []finding
	for _, o := range l.objects {
		older, ok := o.(*v1alpha1.Rollout)
		if !ok || !hasPlaceInQueue(older) {
			continue
		}
		for _, other := range l.objects {
			newer, ok := other.(*v1alpha1.Rollout)
			if ok && hasPlaceInQueue(newer) && older.Spec.StartAt.Before(newer.Spec.StartAt) && l.softwareOf(older) == l.softwareOf(newer) && older.Spec.Update.EffectiveWeight() < newer.Spec.Update.EffectiveWeight() {
				out = append(out, warning(l.document(older), "spec.update.weight", fmt.Sprintf(
					"weight %d is lower than weight %d of the newer rollout %s, which is queued too: a device that gets both installs %s last and ends with it",
					older.Spec.Update.EffectiveWeight(), newer.Spec.Update.EffectiveWeight(), newer.Name, older.Spec.Update.Subject()), "give the newer rollout the lower weight, or superseding Replace"))
			}
		}
	}
	return out
}

// hasPlaceInQueue reports whether a rollout is queued, and its manifest says as how new.
func hasPlaceInQueue(r *v1alpha1.Rollout) bool {
	return r.Spec.Update.IsQueued() && r.Spec.StartAt != nil
}

// softwareOf returns the name that the set of a rollout shares with its other versions, or the name
// of the object if it is not known.
func (l *linter) softwareOf(r *v1alpha1.Rollout) string {
	name := r.Spec.Update.DistributionSet
	if set, ok := l.names[objectID{"DistributionSet", l.namespace, name}].(*v1alpha1.DistributionSet); ok {
		return set.Spec.Name + "\n" + set.Spec.Type
	}
	return name
}

// planned returns what the planners of the controllers warn about.
func (l *linter) planned(o *Options) ([]finding, error) {
	plan, err := explain.MakePlan(explain.World{Namespace: l.namespace, Now: o.Now(), Objects: l.present, Manifests: l.objects})
	if err != nil {
		return nil, err
	}
	var out []finding
	add := func(kind, name string, w explain.Warning) {
		if d := l.documents[objectID{kind, l.namespace, name}]; d != nil && w.Reason != v1alpha1.ReasonReferenceNotFound {
			path := fieldOf(d, w.Reason)
			out = append(out, warning(d, path, w.Message, ""))
		}
	}
	for i := range plan.Rollouts {
		for _, w := range plan.Rollouts[i].Warnings {
			add("Rollout", plan.Rollouts[i].Name, w)
		}
	}
	for i := range plan.AutoAssignments {
		for _, w := range plan.AutoAssignments[i].Warnings {
			add("AutoAssignment", plan.AutoAssignments[i].Name, w)
		}
		if a := &plan.AutoAssignments[i]; a.Targets == 0 && len(a.Warnings) == 0 {
			add("AutoAssignment", a.Name, explain.Warning{Reason: v1alpha1.ReasonNoTargets, Message: "no target is selected yet"})
		}
	}
	for _, w := range plan.Warnings {
		if w.Kind == "DistributionSet" && l.lacksModules(w.Name) {
			continue // the module that is missing is an error already
		}
		add(w.Kind, w.Name, w.Warning)
	}
	return out, nil
}

// lacksModules reports whether a module of a set does not exist.
func (l *linter) lacksModules(name string) bool {
	set, ok := l.names[objectID{"DistributionSet", l.namespace, name}].(*v1alpha1.DistributionSet)
	return ok && slices.ContainsFunc(set.Spec.Modules, func(m v1alpha1.ModuleReference) bool {
		return l.names[objectID{"SoftwareModule", l.namespace, m.Name}] == nil
	})
}

// fieldOf returns the field that a reason of the planner is about.
func fieldOf(d *manifest.Document, reason string) string {
	switch reason {
	case v1alpha1.ReasonNoTargets, v1alpha1.ReasonInvalidExpression:
		if d.Value("spec.targetExpression") != "" {
			return "spec.targetExpression"
		}
		return "spec.targetSelector"
	case v1alpha1.ReasonTargetsLeftOver, v1alpha1.ReasonTooManyGroups, v1alpha1.ReasonGroupTooLarge, "GroupEmpty":
		return "spec.groups"
	case v1alpha1.ReasonDistributionSetNotReady, "Incompatible":
		if d.Object.GetKind() == "DistributionSet" {
			return "spec.modules"
		}
		return "spec.update.distributionSet"
	case v1alpha1.ReasonOrderAmbiguous:
		return "spec.startAt"
	case v1alpha1.ReasonDuplicate:
		return "spec.controllerID"
	case v1alpha1.ReasonInvalidatedBySpec:
		return "spec.invalidation"
	}
	return ""
}
