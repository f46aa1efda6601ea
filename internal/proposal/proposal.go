// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proposal makes of an operation what a person needs to decide about it, in the kubectl
// plugin and in the console alike: the patch, the lines of kubectl, the manifest for a commit, the
// owners of the fields, and the rights of the person. It also writes the change, if it still is the
// one that was shown.
package proposal

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

// Proposal is a change with what a person needs to decide about it.
type Proposal struct {
	*operation.Change
	// Patch is the change as a merge patch, and Kubectl the command that makes it.
	Patch   map[string]any `json:"patch"`
	Kubectl string         `json:"kubectl"`
	// Owners are GitOps tools that own a changed field. Origins are their objects that apply the
	// manifest.
	Owners  []operation.Owner  `json:"owners,omitempty"`
	Origins []operation.Origin `json:"origins,omitempty"`
	// ManifestURL is where a person can edit the manifest in Git, if the object names it.
	ManifestURL string `json:"manifestURL,omitempty"`
	// Applied is true if the change was written.
	Applied bool `json:"applied"`
}

// Of returns the proposal for a change that was computed from this object.
func Of(change *operation.Change, object metav1.Object) (*Proposal, error) {
	p := &Proposal{Change: change, Patch: change.Patch(), Owners: operation.OwnersOf(object, change.Fields), Origins: operation.OriginsOf(object), ManifestURL: operation.ManifestURLOf(object)}
	data, err := json.Marshal(p.Patch)
	if err != nil {
		return nil, err
	}
	p.Kubectl = fmt.Sprintf("kubectl -n %s patch %s %s --type=merge -p '%s'", p.Namespace, p.Resource(), p.Name, strings.ReplaceAll(string(data), "'", `'\''`))
	return p, nil
}

// OwnerSentences say for each owner of a changed field what it does to the field.
func (p *Proposal) OwnerSentences() []string {
	var sentences []string
	for _, owner := range p.Owners {
		sentence := fmt.Sprintf("%s owns %s (field manager %s", owner.Tool, owner.Field, owner.Manager)
		for _, origin := range p.Origins {
			if origin.Tool == owner.Tool {
				sentence += ", " + origin.Object
			}
		}
		sentences = append(sentences, sentence+"), and its next sync sets the field back to the value in Git")
	}
	return sentences
}

// FieldLines returns a line for each field: its path, the present value and the next one.
func FieldLines(c *operation.Change) []string {
	var lines []string
	for _, f := range c.Fields {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", f.Path, ValueText(f.Old), ValueText(f.New)))
	}
	return lines
}

// ValueText returns the value of a field for a person.
func ValueText(value any) string {
	switch v := value.(type) {
	case nil:
		return "(not set)"
	case string:
		return v
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

// AskRights asks the API server whether the user of the client has the rights. If it does not
// answer, they stay unknown.
func AskRights(ctx context.Context, c client.Client, namespace string, rights []operation.Right) error {
	for i := range rights {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: rights[i].Verb, Group: v1alpha1.GroupVersion.Group, Resource: rights[i].Resource, Name: rights[i].Name}}}
		if err := c.Create(ctx, review); err != nil {
			return err
		}
		rights[i].Allowed = &review.Status.Allowed
	}
	return nil
}
