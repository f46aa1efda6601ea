// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/manifest"
	"github.com/goshawk-dev/goshawk/internal/schema"
)

// manifestFlags are the flags that name manifests.
type manifestFlags struct {
	files     []string
	kustomize string
}

func (m *manifestFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVarP(&m.files, "filename", "f", nil, "file or directory with manifests, which is read with everything below it; - is the standard input")
	c.Flags().StringVarP(&m.kustomize, "kustomize", "k", "", "directory with a kustomization.yaml, which is built")
	_ = c.MarkFlagFilename("filename", "yaml", "yml", "json")
	_ = c.MarkFlagDirname("kustomize")
}

// read returns the objects of the manifests.
func (m *manifestFlags) read(c *cobra.Command, o *Options) ([]manifest.Document, error) {
	if len(m.files) == 0 && m.kustomize == "" {
		return nil, usageError(c, errors.New("no manifests are given: name a file or a directory with -f, or a kustomization with -k"))
	}
	documents, err := manifest.Read(m.files, o.In)
	if err != nil || m.kustomize == "" {
		return documents, err
	}
	built, err := buildKustomization(m.kustomize)
	return append(documents, built...), err
}

// buildKustomization returns the objects of a kustomization.
func buildKustomization(dir string) ([]manifest.Document, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	text, err := resources.AsYaml()
	if err != nil {
		return nil, err
	}
	return manifest.Parse(dir, text), nil
}

// objectID identifies an object among the manifests.
type objectID struct{ kind, namespace, name string }

// applied are the manifests of one namespace as typed objects, with the defaults that the API
// server fills in.
type applied struct {
	namespace string
	objects   []client.Object
	documents map[objectID]*manifest.Document
}

// check checks the manifests as the API server does. namespace is that of objects without one.
// present returns the objects of a namespace, or nil if they are not known; an object that exists
// is checked as an update. The objects that are accepted are returned by namespace, sorted.
func check(ctx context.Context, documents []manifest.Document, namespace string, present func(namespace string) ([]client.Object, error)) ([]applied, []finding, error) {
	kinds, err := schema.Kinds()
	if err != nil {
		return nil, nil, err
	}
	byNamespace, seen, old := map[string]*applied{}, map[objectID]*manifest.Document{}, existing{present: present}
	var findings []finding
	for i := range documents {
		d := &documents[i]
		if d.Err != nil {
			findings = append(findings, notParsed(d))
			continue
		}
		d.Object.SetNamespace(cmp.Or(d.Object.GetNamespace(), namespace))
		id := objectID{d.Object.GetKind(), d.Object.GetNamespace(), d.Object.GetName()}
		kind := kinds[id.kind]
		switch first := seen[id]; {
		case kind == nil:
			findings = append(findings, about(d, "kind", fmt.Sprintf("there is no kind %s in %s", id.kind, v1alpha1.GroupVersion.Group), "use one of "+strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")))
			continue
		case first != nil:
			findings = append(findings, about(d, "metadata.name", fmt.Sprintf("the object is also in %s:%d", first.File, first.Line("")), "remove one of the two"))
			continue
		}
		seen[id] = d
		stored, err := old.find(id)
		if err != nil {
			return nil, nil, err
		}
		object, refused, err := accept(ctx, kind, d, stored)
		if err != nil {
			return nil, nil, err
		}
		findings = append(findings, refused...)
		if object == nil {
			continue
		}
		a := byNamespace[id.namespace]
		if a == nil {
			a = &applied{namespace: id.namespace, documents: map[objectID]*manifest.Document{}}
			byNamespace[id.namespace] = a
		}
		a.objects, a.documents[id] = append(a.objects, object), d
	}
	var all []applied
	for _, name := range slices.Sorted(maps.Keys(byNamespace)) {
		all = append(all, *byNamespace[name])
	}
	return all, findings, nil
}

// accept returns a manifest as a typed object, or why the API server refuses it.
func accept(ctx context.Context, kind *schema.Kind, d *manifest.Document, stored *unstructured.Unstructured) (client.Object, []finding, error) {
	candidate := d.Object.DeepCopy()
	var errs field.ErrorList
	if stored == nil {
		errs = kind.Create(ctx, candidate)
	} else {
		errs = kind.Update(ctx, candidate, stored)
	}
	if len(errs) > 0 {
		return nil, refusals(d, errs), nil
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, nil, err
	}
	typed, err := scheme.New(candidate.GroupVersionKind())
	if err != nil {
		return nil, nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(candidate.Object, typed); err != nil {
		return nil, []finding{about(d, "", "the object cannot be decoded: "+err.Error(), "")}, nil //nolint:nilerr // it is a finding
	}
	object, ok := typed.(client.Object)
	if !ok {
		return nil, nil, fmt.Errorf("%T has no metadata", typed)
	}
	return object, nil, nil
}

// existing finds objects of the cluster or of an export.
type existing struct {
	present func(namespace string) ([]client.Object, error)
	loaded  map[string]map[objectID]client.Object
}

func (e *existing) find(id objectID) (*unstructured.Unstructured, error) {
	if e.present == nil {
		return nil, nil
	}
	byID, ok := e.loaded[id.namespace]
	if !ok {
		objects, err := e.present(id.namespace)
		if err != nil {
			return nil, err
		}
		byID = map[objectID]client.Object{}
		for _, o := range objects {
			byID[objectID{kindOf(o), o.GetNamespace(), o.GetName()}] = o
		}
		if e.loaded == nil {
			e.loaded = map[string]map[objectID]client.Object{}
		}
		e.loaded[id.namespace] = byID
	}
	object := byID[id]
	if object == nil {
		return nil, nil
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	stored := &unstructured.Unstructured{Object: content}
	stored.SetAPIVersion(v1alpha1.GroupVersion.String())
	stored.SetKind(id.kind)
	return stored, nil
}

// worldFlags are the flags that say what the manifests are applied to.
type worldFlags struct {
	targets         string
	requireApproval bool
}

func (w *worldFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&w.targets, "targets", "", "file of kubectl goshawk export; without it, the cluster is read")
	c.Flags().BoolVar(&w.requireApproval, "require-approval", false, "every rollout needs an approval, as with this flag of the manager")
	_ = c.MarkFlagFilename("targets")
}

// reader returns a function that returns the objects of a namespace: those of the export, or those
// of the cluster. It reads each namespace once.
func (w *worldFlags) reader(ctx context.Context, o *Options) (func(namespace string) ([]client.Object, error), error) {
	known := map[string][]client.Object{}
	if w.targets != "" {
		exported, err := readExport(w.targets, o.In)
		if err != nil {
			return nil, err
		}
		for _, object := range exported {
			known[object.GetNamespace()] = append(known[object.GetNamespace()], object)
		}
		return func(namespace string) ([]client.Object, error) { return known[namespace], nil }, nil
	}
	c, err := o.Client()
	if err != nil {
		return nil, err
	}
	return func(namespace string) ([]client.Object, error) {
		if objects, ok := known[namespace]; ok {
			return objects, nil
		}
		objects, err := list(ctx, c, namespace, append(sources(), &v1alpha1.TargetList{}, &v1alpha1.TargetInventoryList{})...)
		if err == nil {
			known[namespace] = objects
		}
		return objects, err
	}, nil
}

// refused returns the error that manifests are refused, which names the first of them.
func refused(findings []finding) error {
	errs := slices.DeleteFunc(slices.Clone(findings), func(f finding) bool { return f.Severity != severityError })
	if len(errs) == 0 {
		return nil
	}
	const shown = 10
	var lines []string
	for i := range errs[:min(shown, len(errs))] {
		lines = append(lines, errs[i].text())
	}
	if more := len(errs) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return fixed{fmt.Errorf("the API server would refuse these manifests:\n%s", strings.Join(lines, "\n")), "`kubectl goshawk lint` lists all problems"}
}

// plans returns what the manifests do, by namespace.
func (w *worldFlags) plans(o *Options, all []applied, present func(string) ([]client.Object, error), makePlan func(explain.World) (*explain.Plan, error)) ([]explain.Plan, error) {
	var plans []explain.Plan
	for _, a := range all {
		objects, err := present(a.namespace)
		if err != nil {
			return nil, err
		}
		plan, err := makePlan(explain.World{Namespace: a.namespace, Now: o.Now(), RequireApproval: w.requireApproval, Objects: objects, Manifests: a.objects})
		if err != nil {
			return nil, err
		}
		plans = append(plans, *plan)
	}
	return plans, nil
}

func isTarget(o client.Object) bool { return reflect.TypeOf(o) == reflect.TypeFor[*v1alpha1.Target]() }
