// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/admission"
	"github.com/goshawk-dev/goshawk/internal/manifest"
)

// anyApplier is the account that applies the manifests, if its roles are not known.
const anyApplier = "the account that applies it"

// applier is the account that applies the manifests.
type applier struct {
	// roles are the names of its ClusterRoles; empty: they are not known.
	roles  []string
	allows func(authorizer.Attributes) bool
}

// newApplier returns an account with these ClusterRoles.
func newApplier(roles []string) (*applier, error) {
	known, err := admission.RoleNames()
	if err != nil {
		return nil, err
	}
	for _, name := range roles {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("--role is %q; it must be one of %s", name, strings.Join(known, ", "))
		}
	}
	allows, err := admission.RightsOf(roles)
	return &applier{roles: roles, allows: allows}, err
}

// completeRoles completes the names of the ClusterRoles for people.
func completeRoles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, _ := admission.RoleNames()
	return names, cobra.ShellCompDirectiveNoFileComp
}

// rights returns the rights that the manifests need in addition to those to write their kinds, as
// notices, or as errors if the roles of the account are known and do not give them.
func (l *linter) rights(ctx context.Context, by *applier) ([]finding, error) {
	stored := map[objectID]client.Object{}
	for _, o := range l.present {
		stored[objectID{kindOf(o), l.namespace, o.GetName()}] = o
	}
	var out []finding
	for _, o := range l.objects {
		d := l.document(o)
		request, err := requestFor(o, stored[objectID{kindOf(o), l.namespace, o.GetName()}])
		if err != nil {
			return nil, err
		}
		request.Allows, request.Account = by.allows, anyApplier
		out = append(out, by.mayWrite(d, request)...)
		messages, err := admission.Refusals(ctx, request)
		if err != nil {
			return nil, err
		}
		for _, message := range messages {
			out = append(out, by.lacks(d, message))
		}
	}
	return out, nil
}

// requestFor returns the write of an object in place of the stored one, which may be nil.
func requestFor(object, stored client.Object) (*admission.Request, error) {
	resource, _ := meta.UnsafeGuessKindToResource(v1alpha1.GroupVersion.WithKind(kindOf(object)))
	r := &admission.Request{Resource: resource.Resource}
	for _, from := range []struct {
		object client.Object
		to     **unstructured.Unstructured
	}{{object, &r.Object}, {stored, &r.Old}} {
		if from.object == nil {
			continue
		}
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(from.object)
		if err != nil {
			return nil, err
		}
		*from.to = &unstructured.Unstructured{Object: content}
		(*from.to).SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf(object)))
	}
	return r, nil
}

// mayWrite returns the first right to write the kind that the known roles of the account do not
// give, or nil.
func (by *applier) mayWrite(d *manifest.Document, r *admission.Request) []finding {
	if len(by.roles) == 0 {
		return nil
	}
	verbs := []string{"patch"}
	if r.Old == nil {
		verbs = []string{"create", "patch"}
	}
	for _, verb := range verbs {
		right := authorizer.AttributesRecord{Verb: verb, APIGroup: v1alpha1.GroupVersion.Group, Resource: r.Resource, Namespace: r.Object.GetNamespace(), Name: r.Object.GetName()}
		if !by.allows(right) {
			return []finding{about(d, "", fmt.Sprintf("needs the verb %s on %s in namespace %s, which %s", verb, r.Resource, r.Object.GetNamespace(), by.doNotGive()), fixFor(right))}
		}
	}
	return nil
}

// fixFor returns which roles give a right.
func fixFor(right authorizer.Attributes) string {
	var giving []string
	names, _ := admission.RoleNames()
	for _, name := range names {
		if allows, err := admission.RightsOf([]string{name}); err == nil && allows(right) {
			giving = append(giving, name)
		}
	}
	if len(giving) == 0 {
		return "no ClusterRole of Goshawk gives it"
	}
	return "bind one of the ClusterRoles that give it: " + strings.Join(giving, ", ")
}

func (by *applier) doNotGive() string {
	if len(by.roles) == 1 {
		return by.roles[0] + " does not give"
	}
	return strings.Join(by.roles, " and ") + " do not give"
}

// fieldOfMessage finds the field that the message of a policy is about.
var fieldOfMessage = regexp.MustCompile(`\b(spec|metadata)(\.[A-Za-z]+)+`)

// startsPredicate finds a message that can be read after the field and a colon.
var startsPredicate = regexp.MustCompile(`^(needs|None|Soft|Force)\b`)

// lacks returns the finding for a message of a policy, which has the form "… needs …, which ACCOUNT
// lacks: …".
func (by *applier) lacks(d *manifest.Document, message string) finding {
	message, fix, _ := strings.Cut(message, ", which "+anyApplier+" lacks: ")
	path := fieldOfMessage.FindString(message)
	if strings.HasPrefix(message, "to stop ") {
		path = "spec.state"
	}
	if rest, ok := strings.CutPrefix(message, path+" "); ok && startsPredicate.MatchString(rest) {
		message = rest
	}
	if len(by.roles) > 0 {
		return about(d, path, message+", which "+by.doNotGive(), fix)
	}
	f := about(d, path, message, fix)
	f.Severity = severityNotice
	return f
}
