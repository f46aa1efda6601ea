// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package decode keeps one stored object that cannot be decoded from blocking all others of its
// kind. client-go decodes a list as a whole and ends a watch at the first object that it cannot
// decode. This package returns such an object with a mark (v1alpha1.Unreadable) and with all fields
// that could be decoded, and the others normally.
package decode

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// kinds whose objects are isolated, with the check of each.
var kinds = func() map[reflect.Type]check {
	byType := map[reflect.Type]check{}
	for _, object := range []runtime.Object{
		&v1alpha1.SoftwareModule{}, &v1alpha1.DistributionSet{}, &v1alpha1.Target{}, &v1alpha1.Rollout{}, &v1alpha1.DeploymentGroup{}, &v1alpha1.AutoAssignment{},
		&v1alpha1.DeviceAccess{}, &v1alpha1.TargetInventory{},
	} {
		t := reflect.TypeOf(object).Elem()
		byType[t] = checkOf(t)
	}
	return byType
}()

func typeOf(object runtime.Object) reflect.Type { return reflect.TypeOf(object).Elem() }

// IsIsolated reports whether objects of this Go type are isolated.
func IsIsolated(object runtime.Object) bool {
	_, ok := kinds[typeOf(object)]
	return ok
}

// serializerFor returns client-go's serializer with isolating decoders.
func serializerFor(scheme *runtime.Scheme) runtime.NegotiatedSerializer {
	return isolatingSerializer{serializer.NewCodecFactory(scheme).WithoutConversion()}
}

type isolatingSerializer struct{ runtime.NegotiatedSerializer }

// DecoderToVersion wraps the decoder of lists and of the objects in a watch.
func (s isolatingSerializer) DecoderToVersion(d runtime.Decoder, v runtime.GroupVersioner) runtime.Decoder {
	return isolatingDecoder{s.NegotiatedSerializer.DecoderToVersion(d, v)}
}

type isolatingDecoder struct{ runtime.Decoder }

// Decode decodes as client-go does. Only if that fails, or the result contains a value that this
// version cannot work with, the objects are decoded one by one, so the usual case has no extra
// cost.
func (d isolatingDecoder) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	object, gvk, err := d.Decoder.Decode(data, defaults, into)
	if object == nil {
		object = into
	}
	if object == nil && gvk != nil && gvk.Group == v1alpha1.GroupVersion.Group { // a watch does not pass the expected type
		object = newOf(gvk.Kind)
	}
	switch {
	case object == nil:
		return object, gvk, err
	case IsIsolated(object):
		if err == nil && problemOf(object) == "" {
			return object, gvk, nil
		}
		return object, gvk, decodeReadable(data, object, err)
	case !isList(object):
		return object, gvk, err
	}
	if err == nil && !hasProblem(object) {
		return object, gvk, nil
	}
	return object, gvk, decodeList(data, object)
}

func newOf(kind string) runtime.Object {
	for t := range kinds {
		if t.Name() == kind {
			return reflect.New(t).Interface().(runtime.Object)
		}
	}
	return nil
}

// newListOf returns an empty list of the kind of an object.
func newListOf(object runtime.Object) runtime.Object {
	switch object.(type) {
	case *v1alpha1.SoftwareModule:
		return &v1alpha1.SoftwareModuleList{}
	case *v1alpha1.DistributionSet:
		return &v1alpha1.DistributionSetList{}
	case *v1alpha1.Target:
		return &v1alpha1.TargetList{}
	case *v1alpha1.Rollout:
		return &v1alpha1.RolloutList{}
	case *v1alpha1.DeploymentGroup:
		return &v1alpha1.DeploymentGroupList{}
	case *v1alpha1.DeviceAccess:
		return &v1alpha1.DeviceAccessList{}
	case *v1alpha1.TargetInventory:
		return &v1alpha1.TargetInventoryList{}
	}
	return &v1alpha1.AutoAssignmentList{}
}

// itemsOf returns the Items of a list of an isolated kind, or an invalid value for other objects.
func itemsOf(list runtime.Object) reflect.Value {
	v := reflect.ValueOf(list).Elem()
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	items := v.FieldByName("Items")
	if !items.IsValid() || items.Kind() != reflect.Slice {
		return reflect.Value{}
	}
	if _, ok := kinds[items.Type().Elem()]; !ok {
		return reflect.Value{}
	}
	return items
}

func isList(object runtime.Object) bool { return itemsOf(object).IsValid() }

func hasProblem(list runtime.Object) bool {
	items := itemsOf(list)
	c := kinds[items.Type().Elem()]
	for i := range items.Len() {
		if _, problem := c(items.Index(i)); problem != "" {
			return true
		}
	}
	return false
}

// problemOf returns what this version cannot work with in a decoded object, or "".
func problemOf(object runtime.Object) string {
	v := reflect.ValueOf(object).Elem()
	path, problem := kinds[v.Type()](v)
	if problem == "" {
		return ""
	}
	return strings.TrimPrefix(path, ".") + ": " + problem
}

// decodeList decodes a list item by item.
func decodeList(data []byte, list runtime.Object) error {
	var raw struct {
		metav1.TypeMeta
		Metadata metav1.ListMeta   `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("decode a list: %w", err)
	}
	items := itemsOf(list)
	decoded := reflect.MakeSlice(items.Type(), len(raw.Items), len(raw.Items))
	for i, text := range raw.Items {
		if err := decodeOne(text, decoded.Index(i).Addr().Interface().(runtime.Object)); err != nil {
			return err
		}
	}
	items.Set(decoded)
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	accessor.SetResourceVersion(raw.Metadata.ResourceVersion)
	accessor.SetContinue(raw.Metadata.Continue)
	accessor.SetRemainingItemCount(raw.Metadata.RemainingItemCount)
	list.GetObjectKind().SetGroupVersionKind(raw.GroupVersionKind())
	return nil
}

// decodeOne decodes an object, and marks it if it cannot be decoded as a whole.
func decodeOne(data []byte, object runtime.Object) error {
	reflect.ValueOf(object).Elem().SetZero()
	err := unmarshal(data, object)
	if err == nil && problemOf(object) == "" {
		return nil
	}
	return decodeReadable(data, object, err)
}

func unmarshal(data []byte, into any) error {
	return utiljson.Unmarshal(data, into)
}

// decodeReadable fills an object with the fields that can be decoded, and marks it. cause is the
// error of decoding the whole object, or nil if it was decoded but contains a value that this
// version cannot work with. The returned error means that not even the metadata can be decoded.
func decodeReadable(data []byte, object runtime.Object, cause error) error {
	v := reflect.ValueOf(object).Elem()
	v.SetZero()
	var raw struct {
		metav1.TypeMeta
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     json.RawMessage   `json:"spec"`
		Status   json.RawMessage   `json:"status"`
	}
	if err := unmarshal(data, &raw); err != nil || raw.Metadata.Name == "" {
		return fmt.Errorf("decode %s: %w", v.Type().Name(), firstError(cause, err))
	}
	v.FieldByName("TypeMeta").Set(reflect.ValueOf(raw.TypeMeta))
	v.FieldByName("ObjectMeta").Set(reflect.ValueOf(raw.Metadata))
	mark := &v1alpha1.Unreadable{}
	var reasons []string
	for _, part := range []struct {
		name string
		text json.RawMessage
	}{{"spec", raw.Spec}, {"status", raw.Status}} {
		into := v.FieldByName(strings.ToUpper(part.name[:1]) + part.name[1:])
		if !into.IsValid() { // a TargetInventory has no spec
			continue
		}
		fields, why := decodeReadablePart(part.name, part.text, into)
		mark.Fields, reasons = append(mark.Fields, fields...), append(reasons, why...)
	}
	if len(reasons) == 0 { // spec and status are correct: report the cause
		reasons = append(reasons, fmt.Sprint(cause))
	}
	mark.Message = text.LimitBytes(strings.Join(reasons, "; "), maxMessage)
	if g, ok := object.(*v1alpha1.DeploymentGroup); ok && mark.Lacks("spec.rolloutUID") {
		if owner := metav1.GetControllerOf(g); owner != nil {
			g.Spec.RolloutUID = owner.UID
		}
	}
	v1alpha1.MarkUnreadable(object, mark)
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the object has no name")
}

// decodeReadablePart fills spec or status field by field, and returns the fields that cannot be
// decoded, and why.
func decodeReadablePart(name string, text json.RawMessage, into reflect.Value) (fields, why []string) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(text, &values); err != nil {
		return []string{name}, []string{fmt.Sprintf("%s is not an object", name)}
	}
	c := checkOf(into.Type())
	for _, field := range sortedKeys(values) {
		alone, err := json.Marshal(map[string]json.RawMessage{field: values[field]})
		if err != nil {
			return []string{name}, []string{fmt.Sprintf("%s: %v", name, err)}
		}
		trial := reflect.New(into.Type())
		problem := ""
		if err := unmarshal(alone, trial.Interface()); err != nil {
			problem = fmt.Sprintf("%s.%s: %v", name, field, err)
		} else if path, found := c(trial.Elem()); found != "" {
			problem = fmt.Sprintf("%s%s: %s", name, path, found)
		}
		if problem != "" {
			fields, why = append(fields, name+"."+field), append(why, problem)
			continue
		}
		if err := unmarshal(alone, into.Addr().Interface()); err != nil {
			return []string{name}, []string{fmt.Sprintf("%s.%s: %v", name, field, err)}
		}
	}
	return fields, why
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// maxMessage limits what is kept, logged and recorded in an event for one object, in bytes.
const maxMessage = 700
