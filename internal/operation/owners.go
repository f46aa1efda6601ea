// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"net/url"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Origin is an object of a GitOps tool that applies a manifest.
type Origin struct {
	// Tool is Flux, Argo CD or Helm.
	Tool string `json:"tool"`
	// Object is the object of the tool, such as "Kustomization fleet/rollouts".
	Object string `json:"object"`
}

// Owner is a field manager of a field.
type Owner struct {
	// Field is the path of the field.
	Field string `json:"field"`
	// Manager is the field manager, and Tool the GitOps tool that it belongs to.
	Manager string `json:"manager"`
	Tool    string `json:"tool"`
}

// Names of the GitOps tools.
const (
	toolFlux = "Flux"
	toolArgo = "Argo CD"
	toolHelm = "Helm"
)

// ToolOf returns the GitOps tool that uses this field manager, or "" if none does.
func ToolOf(manager string) string {
	switch {
	case manager == "kustomize-controller", manager == "helm-controller", manager == "flux", strings.HasPrefix(manager, "flux-"):
		return toolFlux
	case strings.HasPrefix(manager, "argocd"):
		return toolArgo
	case manager == "helm":
		return toolHelm
	}
	return ""
}

// maxManifestURL is the maximum length of the URL of a manifest.
const maxManifestURL = 2048

// ManifestURLOf returns the URL of the manifest in Git that the object names, or nothing if it
// names none, or none that a person can open safely.
func ManifestURLOf(o metav1.Object) string {
	value := o.GetAnnotations()[v1alpha1.ManifestURLAnnotation]
	isPlain := !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' })
	u, err := url.Parse(value)
	if err != nil || !isPlain || len(value) > maxManifestURL || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return ""
	}
	return value
}

// OriginsOf returns the objects of GitOps tools that apply this object, by the labels and
// annotations that the tools set.
func OriginsOf(o metav1.Object) []Origin {
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	var origins []Origin
	add := func(tool, kind, namespace, name string) {
		if name == "" {
			return
		}
		if namespace != "" {
			name = namespace + "/" + name
		}
		origins = append(origins, Origin{Tool: tool, Object: kind + " " + name})
	}
	add(toolFlux, "Kustomization", labels["kustomize.toolkit.fluxcd.io/namespace"], labels["kustomize.toolkit.fluxcd.io/name"])
	add(toolFlux, "HelmRelease", labels["helm.toolkit.fluxcd.io/namespace"], labels["helm.toolkit.fluxcd.io/name"])
	application, _, _ := strings.Cut(annotations["argocd.argoproj.io/tracking-id"], ":")
	if application == "" && hasManager(o, toolArgo) {
		application = labels["app.kubernetes.io/instance"]
	}
	add(toolArgo, "Application", "", application)
	if labels["helm.toolkit.fluxcd.io/name"] == "" {
		add(toolHelm, "release", annotations["meta.helm.sh/release-namespace"], annotations["meta.helm.sh/release-name"])
	}
	return origins
}

func hasManager(o metav1.Object, tool string) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool { return ToolOf(e.Manager) == tool })
}

// OwnersOf returns the GitOps tools that own one of the changed fields, or a field below it,
// according to managedFields. The next sync of such a tool sets the field back to its value in Git.
func OwnersOf(o metav1.Object, fields []Field) []Owner {
	var owners []Owner
	for _, entry := range o.GetManagedFields() {
		tool, set := ToolOf(entry.Manager), fieldsOf(&entry)
		if tool == "" || set == nil {
			continue
		}
		for _, f := range fields {
			if ownsPath(set, f.Path) {
				owners = append(owners, Owner{Field: f.Path, Manager: entry.Manager, Tool: tool})
			}
		}
	}
	slices.SortFunc(owners, func(a, b Owner) int { return strings.Compare(a.Field+a.Manager, b.Field+b.Manager) })
	return slices.Compact(owners)
}

// fieldsOf returns the fields of an entry of managedFields, or nil for an entry of the status.
func fieldsOf(entry *metav1.ManagedFieldsEntry) *fieldpath.Set {
	if entry.Subresource != "" || entry.FieldsV1 == nil {
		return nil
	}
	set := fieldpath.NewSet()
	if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return nil
	}
	return set
}

// ownsPath reports whether the set has the field with this path, or a field below it.
func ownsPath(set *fieldpath.Set, path string) bool {
	wanted, found := elements(path), false
	set.Iterate(func(p fieldpath.Path) {
		found = found || len(p) >= len(wanted) && p[:len(wanted)].Equals(wanted)
	})
	return found
}

func elements(path string) fieldpath.Path {
	var p fieldpath.Path
	for name := range strings.SplitSeq(path, ".") {
		p = append(p, fieldpath.PathElement{FieldName: &name})
	}
	return p
}

// SpecFields returns the fields of spec that an entry of managedFields owns, such as spec.approval,
// sorted. It returns none for an entry of the status.
func SpecFields(entry *metav1.ManagedFieldsEntry) []string {
	set := fieldsOf(entry)
	if set == nil {
		return nil
	}
	var fields []string
	set.Iterate(func(p fieldpath.Path) {
		if len(p) >= 2 && p[0].FieldName != nil && *p[0].FieldName == "spec" && p[1].FieldName != nil {
			fields = append(fields, "spec."+*p[1].FieldName)
		}
	})
	slices.Sort(fields)
	return slices.Compact(fields)
}
