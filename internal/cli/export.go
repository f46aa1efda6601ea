// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

func newExportCommand(o *Options) *cobra.Command {
	var compress, software bool
	var attributes []string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write the targets and rollouts of a namespace for plan, diff and lint",
		Long: "Writes what the planner needs to know of a namespace, as one JSON object in each line, sorted:\n" +
			"targets with their labels, type, attributes, installed set and actions, rollouts with their groups,\n" +
			"auto-assignments, sets and modules. With this file `plan`, `diff` and `lint` need no cluster.\n\n" +
			"It has no Secrets and no references to them, no annotations, no URLs of artifacts and no messages of\n" +
			"devices. The same cluster gives the same file.",
		Example: `  # For the pipeline of a pull request
  kubectl goshawk export -n fleet --gzip > fleet.json.gz
  kubectl goshawk plan -f deploy/ --targets fleet.json.gz

  # Only the attributes that selections use
  kubectl goshawk export -n fleet --attributes hwRevision,region > fleet.json`,
		Args: cobra.NoArgs,
	}
	c.Flags().BoolVar(&compress, "gzip", false, "compress the output")
	c.Flags().BoolVar(&software, "software", false, "add the software that devices have reported, which expressions read as target.software")
	c.Flags().StringSliceVar(&attributes, "attributes", nil, "names of the attributes to write (default: all)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := o.Client()
		if err != nil {
			return err
		}
		namespace, err := o.Namespace()
		if err != nil {
			return err
		}
		kinds := append(sources(), &v1alpha1.TargetList{})
		if software {
			kinds = append(kinds, &v1alpha1.TargetInventoryList{})
		}
		objects, err := list(c.Context(), cl, namespace, kinds...)
		if err != nil {
			return err
		}
		if len(objects) == 0 {
			fmt.Fprintf(o.ErrOut, "namespace %s has no object of Goshawk, so the export is empty: choose another namespace with -n\n", namespace)
		}
		out := o.Out
		if compress {
			zip := gzip.NewWriter(o.Out)
			defer zip.Close() //nolint:errcheck // the error of Flush is returned
			out = zip
			if err := writeExport(out, objects, attributes); err != nil {
				return err
			}
			return zip.Close()
		}
		return writeExport(out, objects, attributes)
	}
	return c
}

// writeExport writes the objects, each in a line, sorted by kind and name.
func writeExport(out io.Writer, objects []client.Object, attributes []string) error {
	slices.SortFunc(objects, func(a, b client.Object) int {
		return cmp.Or(cmp.Compare(kindOf(a), kindOf(b)), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	buffer := bufio.NewWriterSize(out, 1<<16)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	for _, o := range objects {
		if err := encoder.Encode(trimmed(o, attributes)); err != nil {
			return err
		}
	}
	return buffer.Flush()
}

// trimmed returns a copy of an object with only what the planner needs.
func trimmed(o client.Object, attributes []string) client.Object {
	c := o.DeepCopyObject().(client.Object)
	c.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kindOf(o)))
	c.SetManagedFields(nil)
	c.SetAnnotations(nil)
	c.SetResourceVersion("")
	switch c := c.(type) {
	case *v1alpha1.Target:
		trimTarget(c, attributes)
	case *v1alpha1.SoftwareModule:
		for i := range c.Spec.Artifacts {
			c.Spec.Artifacts[i].Downloads = nil
		}
	}
	return c
}

func trimTarget(t *v1alpha1.Target, attributes []string) {
	t.Spec.TokenSecretRef = nil
	s := &t.Status
	s.ObservedGeneration, s.Address = 0, ""
	if attributes != nil {
		maps.DeleteFunc(s.Attributes, func(name string, _ v1alpha1.AttributeValue) bool { return !slices.Contains(attributes, name) })
	}
	for i := range s.Actions {
		a := &s.Actions[i]
		s.Actions[i] = v1alpha1.Action{
			ID: a.ID, Source: a.Source, DistributionSet: a.DistributionSet, Removal: a.Removal, ContentHash: a.ContentHash, Update: a.Update, State: a.State,
			StatusCode: a.StatusCode, FailureGroup: a.FailureGroup, HadBefore: a.HadBefore, Cancel: a.Cancel, StartedAt: a.StartedAt, ClosedAt: a.ClosedAt,
		}
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		s.Conditions[i] = metav1.Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, LastTransitionTime: c.LastTransitionTime}
	}
}

// readExport reads a file of `kubectl goshawk export`, compressed or not. It also reads what
// `kubectl get -o json` prints. "-" is the standard input.
func readExport(file string, stdin io.Reader) ([]client.Object, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // it is only read
		in = f
	}
	buffered := bufio.NewReaderSize(in, 1<<16)
	if magic, err := buffered.Peek(2); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		zip, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		buffered = bufio.NewReaderSize(zip, 1<<16)
	}
	objects, err := decodeExport(json.NewDecoder(buffered))
	if err != nil {
		return nil, fixed{fmt.Errorf("%s: %w", file, err), "give a file that `kubectl goshawk export` has written"}
	}
	return objects, nil
}

func decodeExport(decoder *json.Decoder) ([]client.Object, error) {
	var objects []client.Object
	for {
		var raw json.RawMessage
		switch err := decoder.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		}
		found, err := decodeObjects(raw)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
}

// decodeObjects returns the object, or the items of a List. Kinds that the planner does not need
// are left out.
func decodeObjects(raw json.RawMessage) ([]client.Object, error) {
	var head struct {
		Kind  string            `json:"kind"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("an object of Kubernetes is expected, not %s", text.Shorten(string(raw), 40))
	}
	if head.Items != nil {
		var objects []client.Object
		for _, item := range head.Items {
			found, err := decodeObjects(item)
			if err != nil {
				return nil, err
			}
			objects = append(objects, found...)
		}
		return objects, nil
	}
	object := map[string]client.Object{
		"Target": &v1alpha1.Target{}, "TargetInventory": &v1alpha1.TargetInventory{}, "Rollout": &v1alpha1.Rollout{}, "DeploymentGroup": &v1alpha1.DeploymentGroup{},
		"DistributionSet": &v1alpha1.DistributionSet{}, "SoftwareModule": &v1alpha1.SoftwareModule{}, "AutoAssignment": &v1alpha1.AutoAssignment{},
	}[head.Kind]
	if object == nil {
		if head.Kind == "" {
			return nil, errors.New("an object has no kind")
		}
		return nil, nil
	}
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("%s: %w", head.Kind, err)
	}
	return []client.Object{object}, nil
}
