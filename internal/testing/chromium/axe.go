// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package chromium

import (
	_ "embed" // axe-core
	"fmt"
	"strings"

	"github.com/chromedp/chromedp"
)

// axe is axe-core, which checks pages for accessibility. hack/axe.sh updates it.
//
//go:embed axe/axe.min.js
var axe string

// violation is an element, or some of the same kind, that axe-core reports.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct{ Target, Summary string }
}

// CheckAccessibility fails the test for each violation that axe-core finds: WCAG 2.2 levels A and
// AA, and the practices that axe-core recommends. Without rules it checks all rules, else only
// these.
func (tab *Tab) CheckAccessibility(rules ...string) {
	tab.t.Helper()
	if !Value[bool](tab, "typeof window.axe === 'object'") {
		tab.do("load axe-core", chromedp.Evaluate[chromedp.Void](axe+";undefined"))
	}
	only := `{type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}`
	if len(rules) > 0 {
		only = fmt.Sprintf(`{type: "rule", values: [%s]}`, strings.Join(quotedAll(rules), ", "))
	}
	found := Value[[]violation](tab, fmt.Sprintf(`axe.run(document, {resultTypes: ["violations"], preload: false, runOnly: %s}).then(result =>
		result.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.slice(0, 5).map(n => ({Target: n.target.join(" "), Summary: n.failureSummary}))})))`, only))
	for _, v := range found {
		tab.t.Errorf("%s: accessibility (%s, %s): %s", Value[string](tab, "location.href"), v.ID, v.Impact, v.Help)
		for _, node := range v.Nodes {
			tab.t.Logf("\t%s: %s", node.Target, node.Summary)
		}
	}
}

func quotedAll(texts []string) []string {
	literals := make([]string, 0, len(texts))
	for _, text := range texts {
		literals = append(literals, quoted(text))
	}
	return literals
}
