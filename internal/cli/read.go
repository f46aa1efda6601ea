// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/decode"
)

const (
	// pageSize is how many objects one request lists.
	pageSize = 500
	// searched is how many names are compared with a name that does not exist, and how many are
	// offered to the shell as completions.
	searched = 2000
)

// get reads an object of the namespace of the command. If there is none of this name, the error
// names similar ones, and the namespaces that have one. An object that cannot be decoded as a whole
// is an error.
func (o *Options) get(ctx context.Context, object client.Object, name string) error {
	if err := o.getIsolated(ctx, object, name); err != nil {
		return err
	}
	if mark := v1alpha1.UnreadableOf(object); mark != nil {
		return fixed{fmt.Errorf("%s %s/%s cannot be decoded: %s", kindOf(object), object.GetNamespace(), name, mark.Message),
			fmt.Sprintf("correct it, such as by `kubectl edit %s %s -n %s`", resourceOf(object), name, object.GetNamespace())}
	}
	return nil
}

// getIsolated is get for commands that show objects: one that cannot be decoded as a whole is
// returned with its mark.
func (o *Options) getIsolated(ctx context.Context, object client.Object, name string) error {
	c, err := o.Client()
	if err != nil {
		return err
	}
	namespace, err := o.Namespace()
	if err != nil {
		return err
	}
	if wrong := content.IsPathSegmentName(name); len(wrong) > 0 {
		return &ExitError{Code: CodeUsage, Err: fixed{fmt.Errorf("%q cannot be the name of a %s: it %s", name, kindOf(object), strings.Join(wrong, ", ")),
			fmt.Sprintf("`kubectl get %s -n %s` lists the names", resourceOf(object), namespace)}}
	}
	err = decode.Reader(c).Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	if apierrors.IsNotFound(err) {
		return notFound(ctx, c, object, namespace, name)
	}
	return err
}

// notFound returns the error about an object that does not exist, and what the user may have
// meant. What cannot be read is left out.
func notFound(ctx context.Context, c client.Client, object client.Object, namespace, name string) error {
	kind := kindOf(object)
	err := fmt.Errorf("%s %s/%s does not exist", kind, namespace, name)
	fix := fmt.Sprintf("`kubectl get %s -n %s` lists those that exist", resourceOf(object), namespace)
	if elsewhere := namespacesWith(ctx, c, object, name); len(elsewhere) > 0 {
		fix = fmt.Sprintf("a %s of this name exists in namespace %s: choose it with -n", kind, strings.Join(elsewhere, ", "))
	} else if names, listErr := namesOf(ctx, c, object, namespace, searched); listErr == nil {
		switch near := similar(name, names); {
		case len(near) > 0:
			fix = "similar names: " + strings.Join(near, ", ")
		case len(names) == 0:
			fix = fmt.Sprintf("namespace %s has no %s: choose another namespace with -n", namespace, kind)
		}
	}
	return &ExitError{Code: CodeNotFound, Err: fixed{err, fix}}
}

// namesOf returns the names of at most limit objects of a kind in a namespace. It reads only their
// metadata.
func namesOf(ctx context.Context, c client.Client, object client.Object, namespace string, limit int) ([]string, error) {
	list, err := partialList(c, object)
	if err != nil {
		return nil, err
	}
	var names []string
	for {
		if err := c.List(ctx, list, client.InNamespace(namespace), client.Limit(int64(min(pageSize, limit-len(names)))), client.Continue(list.Continue)); err != nil {
			return names, err
		}
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		if list.Continue == "" || len(names) >= limit {
			slices.Sort(names)
			return names, nil
		}
	}
}

// namespacesWith returns up to three namespaces that have an object of this name. Users without the
// right to list all namespaces get none.
func namespacesWith(ctx context.Context, c client.Client, object client.Object, name string) []string {
	list, err := partialList(c, object)
	if err != nil || c.List(ctx, list, client.MatchingFields{"metadata.name": name}, client.Limit(3)) != nil {
		return nil
	}
	var namespaces []string
	for i := range list.Items {
		namespaces = append(namespaces, list.Items[i].Namespace)
	}
	slices.Sort(namespaces)
	return namespaces
}

func partialList(c client.Client, object client.Object) (*metav1.PartialObjectMetadataList, error) {
	kind, err := c.GroupVersionKindFor(object)
	if err != nil {
		return nil, err
	}
	kind.Kind += "List"
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(kind)
	return list, nil
}

func kindOf(object client.Object) string { return reflect.TypeOf(object).Elem().Name() }

// resourceOf returns how kubectl names the kind: in full, because other groups have rollouts too.
func resourceOf(object client.Object) string {
	kind := strings.ToLower(kindOf(object))
	if !strings.HasPrefix(reflect.TypeOf(object).Elem().PkgPath(), reflect.TypeFor[v1alpha1.Rollout]().PkgPath()) {
		return kind
	}
	plural := kind + "s"
	switch kind {
	case "deviceaccess":
		plural = kind + "es"
	case "targetinventory":
		plural = "targetinventories"
	}
	return plural + "." + v1alpha1.GroupVersion.Group
}

// similar returns up to three of the names that are like a name, the most similar ones first.
func similar(name string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var near []candidate
	for _, other := range names {
		distance := editDistance(name, other)
		if strings.Contains(other, name) || strings.Contains(name, other) {
			distance = min(distance, 1)
		}
		if distance <= max(2, len(name)/4) {
			near = append(near, candidate{other, distance})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var found []string
	for _, c := range near[:min(len(near), 3)] {
		found = append(found, c.name)
	}
	return found
}

// editDistance returns the number of characters to insert, remove or replace to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// listAll returns all objects of a list, which it reads in pages. The list is of a kind whose
// objects have type T.
func listAll[T any](ctx context.Context, o *Options, list client.ObjectList, options ...client.ListOption) ([]*T, error) {
	var all []*T
	err := eachPage(ctx, o, list, func(page []*T) bool { all = append(all, page...); return true }, options...)
	return all, err
}

// eachPage calls f with each page of a list, until f returns false. Objects that cannot be decoded
// have their mark: one of them does not hide the others.
func eachPage[T any](ctx context.Context, o *Options, list client.ObjectList, f func(page []*T) bool, options ...client.ListOption) error {
	c, err := o.Client()
	if err != nil {
		return err
	}
	return listPages(ctx, c, list, func(objects []client.Object) bool {
		page := make([]*T, len(objects))
		for i, object := range objects {
			page[i] = any(object).(*T)
		}
		return f(page)
	}, options...)
}

// listPages is eachPage for objects of any kind.
func listPages(ctx context.Context, c client.Client, kind client.ObjectList, f func(page []client.Object) bool, options ...client.ListOption) error {
	for next := ""; ; {
		list := kind.DeepCopyObject().(client.ObjectList) // the pages may share no memory
		if err := decode.Reader(c).List(ctx, list, append(slices.Clone(options), client.Limit(pageSize), client.Continue(next))...); err != nil {
			return err
		}
		var page []client.Object
		err := meta.EachListItem(list, func(o runtime.Object) error {
			object, ok := o.(client.Object)
			if !ok {
				return fmt.Errorf("%T has no metadata", o)
			}
			page = append(page, object)
			return nil
		})
		if err != nil {
			return err
		}
		if next = list.GetContinue(); !f(page) || next == "" {
			return nil
		}
	}
}
