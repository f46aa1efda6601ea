// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/query"
	"github.com/goshawk-dev/goshawk/internal/schema"
)

// TestTheSiteHasEveryPage compares the navigation of the site with the files below docs/. README.md
// is the page index.md of the site.
func TestTheSiteHasEveryPage(t *testing.T) {
	var site struct{ Nav []any }
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(root, "mkdocs.yml"))), &site); err != nil {
		t.Fatal(err)
	}
	inSite := texts(site.Nav)
	pages := []string{"index.md"}
	for _, page := range files(t, filepath.Join(root, "docs"), ".md") {
		pages = append(pages, relative(t, filepath.Join(root, "docs"), page))
	}
	for _, page := range pages {
		if !slices.Contains(inSite, page) {
			t.Errorf("docs/%s is not in nav of mkdocs.yml", page)
		}
	}
	for i, page := range inSite {
		if !slices.Contains(pages, page) {
			t.Errorf("nav of mkdocs.yml has %s, and docs/ does not", page)
		}
		if slices.Contains(inSite[:i], page) {
			t.Errorf("nav of mkdocs.yml has %s twice", page)
		}
	}
}

// texts returns the texts of a YAML value, without the keys of objects.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var list []string
		for _, v := range value {
			list = append(list, texts(v)...)
		}
		return list
	case map[string]any:
		var list []string
		for _, v := range value {
			list = append(list, texts(v)...)
		}
		return list
	}
	return nil
}

// TestTheReadmeLeadsToEveryPage follows the links of README.md, from page to page. A link to a
// folder is a link to all pages in it.
func TestTheReadmeLeadsToEveryPage(t *testing.T) {
	reached := map[string]bool{}
	var follow func(page string)
	follow = func(page string) {
		if reached[page] {
			return
		}
		reached[page] = true
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if m[1] == "" { // a link within the page
				continue
			}
			target := filepath.Join(filepath.Dir(page), m[1])
			if info, err := os.Stat(target); err == nil && info.IsDir() && strings.HasPrefix(target, filepath.Join(root, "docs")) {
				for _, inFolder := range files(t, target, ".md") {
					follow(inFolder)
				}
			} else if err == nil && strings.HasSuffix(target, ".md") {
				follow(target)
			}
		}
	}
	follow(filepath.Join(root, "README.md"))
	for _, page := range files(t, filepath.Join(root, "docs"), ".md") {
		if !reached[page] {
			t.Errorf("no link leads from README.md to %s: add it to the table in README.md, or to a page of that table", page)
		}
	}
}

// TestManifestsInThePagesAreValid checks the manifests of Goshawk's kinds in README.md and in the
// pages, in blocks of YAML and in here-documents of shell commands: complete ones as the API server
// checks a new object, others for unknown fields.
func TestManifestsInThePagesAreValid(t *testing.T) {
	kinds, err := schema.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	complete := 0
	for _, page := range pages(t) {
		for _, text := range manifests(read(t, page)) {
			for _, object := range decode(t, page, text) {
				switch kind := kinds[object.GetKind()]; {
				case strings.HasPrefix(object.GetAPIVersion(), v1alpha1.GroupVersion.Group+"/") && kind == nil:
					t.Errorf("%s: Goshawk has no kind %s in\n%s", page, object.GetKind(), text)
				case kind != nil && object.GetAPIVersion() != "":
					complete++
					if object.GetNamespace() == "" { // kubectl or kustomize adds it
						object.SetNamespace("fleet")
					}
					if errs := kind.Create(t.Context(), object); len(errs) > 0 {
						t.Errorf("%s: %v in\n%s", page, errs.ToAggregate(), text)
					}
				case kind != nil:
					if unknown := unknownFields(t, kind, object); len(unknown) > 0 {
						t.Errorf("%s: %s has no field %s in\n%s", page, object.GetKind(), strings.Join(unknown, ", "), text)
					}
				case object.GetKind() == "" && object.Object["spec"] != nil: // the text says which kind it is
					if !slices.ContainsFunc(slices.Collect(maps.Values(kinds)), func(k *schema.Kind) bool { return len(unknownFields(t, k, object)) == 0 }) {
						t.Errorf("%s: no kind has the fields of\n%s", page, text)
					}
				}
			}
		}
	}
	if complete < 15 {
		t.Errorf("found only %d complete manifests", complete)
	}
}

// unknownFields returns the fields of the object that the kind does not have.
func unknownFields(t *testing.T, kind *schema.Kind, object *unstructured.Unstructured) []string {
	var list []string
	for _, err := range kind.Create(t.Context(), object.DeepCopy()) {
		if err.Type == field.ErrorTypeForbidden && err.Detail == "unknown field" {
			list = append(list, err.Field)
		}
	}
	return list
}

var (
	link      = regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]+))?\)`)
	yamlBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$")
	here      = regexp.MustCompile(`(?ms)<<-?'?([A-Z]+)'?$\n(.*?)^\s*([A-Z]+)$`)
	// shellVariable matches $name, for which the shell writes a text.
	shellVariable = regexp.MustCompile(`\$[a-z]+`)
	codeSpan      = regexp.MustCompile("`([^`\n]+)`")
	comparison    = regexp.MustCompile(`\btarget\.[a-z]\w*.*(==|!=|[<>]|\()| in target\.`)
)

// manifests returns the YAML of a page: of its blocks, and of the here-documents in its commands.
func manifests(page string) []string {
	var list []string
	for _, m := range yamlBlock.FindAllStringSubmatch(page, -1) {
		list = append(list, strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n"))
	}
	for _, m := range here.FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(m[2], "#!") {
			continue // a script
		}
		list = append(list, shellVariable.ReplaceAllString(m[2], "a1"))
	}
	return list
}

// decode returns the objects of a YAML text. What is no object, such as a patch, is left out.
func decode(t *testing.T, page, text string) []*unstructured.Unstructured {
	t.Helper()
	var list []*unstructured.Unstructured
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		data, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			t.Errorf("%s: %v in\n%s", page, err, text)
			continue
		}
		var value any
		if err := json.Unmarshal(data, &value); err != nil { // this package reads whole numbers as int64
			t.Fatalf("%s: %v", page, err)
		}
		if fields, ok := value.(map[string]any); ok {
			list = append(list, &unstructured.Unstructured{Object: fields})
		}
	}
}

// TestExpressionsInThePagesCompile compiles the expressions over `target` in README.md and in the
// pages, in the text and in manifests.
func TestExpressionsInThePagesCompile(t *testing.T) {
	found := 0
	check := func(page, expression string) {
		found++
		if _, err := query.Compile(v1alpha1.Selection{TargetExpression: expression}, nil); err != nil {
			t.Errorf("%s: %v", page, err)
		}
	}
	for _, page := range pages(t) {
		text := read(t, page)
		for _, m := range codeSpan.FindAllStringSubmatch(text, -1) {
			if comparison.MatchString(m[1]) && !strings.Contains(m[1], "...") {
				check(page, strings.ReplaceAll(m[1], `\|`, "|"))
			}
		}
		for _, manifest := range manifests(text) {
			for _, object := range decode(t, page, manifest) {
				for _, expression := range expressionsOf(object.Object) {
					check(page, expression)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d expressions", found)
	}
}

// expressionsOf returns the values of all fields named targetExpression.
func expressionsOf(value any) []string {
	var list []string
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			list = append(list, expressionsOf(v)...)
		}
	case map[string]any:
		for key, v := range value {
			if expression, ok := v.(string); ok && key == "targetExpression" {
				list = append(list, expression)
			}
			list = append(list, expressionsOf(v)...)
		}
	}
	return list
}

// pages returns README.md and the pages below docs/.
func pages(t *testing.T) []string {
	t.Helper()
	return append(files(t, filepath.Join(root, "docs"), ".md"), filepath.Join(root, "README.md"))
}

func relative(t *testing.T, folder, file string) string {
	t.Helper()
	path, err := filepath.Rel(folder, file)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.ToSlash(path)
}
