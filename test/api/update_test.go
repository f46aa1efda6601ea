// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"
)

// updateCases returns the cases of an update in any kind: at is its path in the spec, given the
// YAML around it. noDeadline is the message if it may have no start deadline, or "".
func updateCases(at, noDeadline string, wrap func(update string) string) map[string]schemaCase {
	refusedAt := func(field, sentence string) string { return fmt.Sprintf("spec.%s.%s: %s", at, field, sentence) }
	bound := func(field, relation string, limit int) string {
		return refusedAt(field, fmt.Sprintf("spec.%s.%s in body should be %s than or equal to %d", at, field, relation, limit))
	}
	const forceAt = "forceAt goes with type TimeForced, and only with it: give forceAt, or choose another type"
	const cron = "schedule must be a cron expression of five fields, such as '0 2 * * *'; the time zone goes into timeZone"
	const zone = "timeZone must be a name of the IANA database, such as Europe/Berlin, or UTC"
	window := func(schedule, timeZone string) string {
		return wrap(fmt.Sprintf("{maintenanceWindow: {schedule: %q, durationSeconds: 3600, timeZone: %q}}", schedule, timeZone))
	}
	const oneOf = "one of distributionSet and remove must be given: distributionSet to install a set, remove to remove software"
	const text = `must have no control characters and none of < > & " \`
	removal := func(entries string) string { return wrap(`{distributionSet: null, remove: [` + entries + `]}`) }
	entries := func(count int, name string) string {
		var list []string
		for i := range count {
			list = append(list, fmt.Sprintf(`{group: g, name: %s, version: "%02d"}`, name, i))
		}
		return strings.Join(list, ", ")
	}
	refusedDeadline := ""
	if noDeadline != "" {
		refusedDeadline = refusedAt("startDeadlineSeconds", noDeadline)
	}
	return map[string]schemaCase{
		"an update without a set":            {given: wrap(`{distributionSet: null}`), refused: refusedAt("distributionSet", oneOf)},
		"a set and a removal":                {given: wrap(`{remove: [{group: g, name: app, version: "1"}]}`), refused: refusedAt("distributionSet", oneOf)},
		"a removal":                          {given: removal(`{group: org.example, name: "Böse App", version: "1.2+3", type: "docker:image"}, {group: g/h, name: app, version: "2"}`)},
		"a removal of nothing":               {given: removal(``), refused: refusedAt("remove", fmt.Sprintf("spec.%s.remove in body should have at least 1 items", at))},
		"a removal of 50 entries":            {given: removal(entries(50, "a"))},
		"a removal of 51 entries":            {given: removal(entries(51, "a")), refused: refusedAt("remove", "Too many: 51: must have at most 50 items")},
		"a removal of 4096 bytes":            {given: removal(entries(41, strings.Repeat("x", 96)))},
		"a removal of over 4096 bytes":       {given: removal(entries(41, strings.Repeat("x", 97))), refused: refusedAt("remove", "the texts of remove take more than 4096 bytes in all: use several updates, with superseding: Queue")},
		"a removal of over 4096 UTF-8 bytes": {given: removal(entries(41, strings.Repeat("ü", 60))), refused: refusedAt("remove", "the texts of remove take more than 4096 bytes in all: use several updates, with superseding: Queue")},
		"a removal without a version":        {given: removal(`{group: g, name: app}`), refused: refusedAt("remove[0].version", "Required value")},
		"a removal of an empty group":        {given: removal(`{group: "", name: app, version: "1"}`), refused: refusedAt("remove[0].group", fmt.Sprintf("spec.%s.remove[0].group in body should be at least 1 chars long", at))},
		"a removal with a control character": {given: removal(`{group: g, name: "a\u0007b", version: "1"}`), refused: refusedAt("remove[0].name", "name "+text)},
		"a removal with a markup character":  {given: removal(`{group: g, name: app, version: "<1>"}`), refused: refusedAt("remove[0].version", "version "+text)},
		"the same software twice":            {given: removal(`{group: g, name: app, version: "1"}, {group: g, name: app, version: "1", type: t}`), refused: refusedAt("remove[1]", `Duplicate value: {"group":"g","name":"app","version":"1"}`)},
		"a removal that only downloads":      {given: wrap(`{distributionSet: null, type: DownloadOnly, remove: [{group: g, name: app, version: "1"}]}`), refused: refusedAt("type", "type DownloadOnly does not fit a removal, which downloads nothing: choose Forced, Soft or TimeForced")},
		"a warning as a failure":             {given: wrap(`{finishedWarning: Failure}`)},
		"an unknown finishedWarning":         {given: wrap(`{finishedWarning: Ignore}`), refused: refusedAt("finishedWarning", `Unsupported value: "Ignore": supported values: "Success", "Failure"`)},
		"an update with an empty set":        {given: wrap(`{distributionSet: ""}`), refused: refusedAt("distributionSet", fmt.Sprintf("spec.%s.distributionSet in body should be at least 1 chars long", at))},
		"an update of an unknown type":       {given: wrap(`{type: forced}`), refused: refusedAt("type", `Unsupported value: "forced": supported values: "Forced", "Soft", "TimeForced", "DownloadOnly"`)},
		"an update that only downloads":      {given: wrap(`{type: DownloadOnly}`)},
		"Forced with forceAt":                {given: wrap(`{type: Forced, forceAt: "2026-12-01T02:00:00Z"}`), refused: refusedAt("forceAt", forceAt)},
		"no type, so Forced, with forceAt":   {given: wrap(`{forceAt: "2026-12-01T02:00:00Z"}`), refused: refusedAt("forceAt", forceAt)},
		"a weight of 0":                      {given: wrap(`{weight: 0}`)},
		"a weight of 1000":                   {given: wrap(`{weight: 1000}`)},
		"a weight of 1001":                   {given: wrap(`{weight: 1001}`), refused: bound("weight", "less", 1000)},
		"a negative weight":                  {given: wrap(`{weight: -1}`), refused: bound("weight", "greater", 0)},
		"superseding Queue":                  {given: wrap(`{superseding: Queue}`)},
		"an unknown superseding":             {given: wrap(`{superseding: Never}`), refused: refusedAt("superseding", `Unsupported value: "Never": supported values: "Replace", "Queue"`)},
		"a start deadline":                   {given: wrap(`{startDeadlineSeconds: 31536000, startDeadlineAction: Skip}`), refused: refusedDeadline},
		"a start deadline above a year":      {given: wrap(`{startDeadlineSeconds: 31536001}`), refused: bound("startDeadlineSeconds", "less", 31536000)},
		"a start deadline of 0":              {given: wrap(`{startDeadlineSeconds: 0}`), refused: bound("startDeadlineSeconds", "greater", 1)},
		"an unknown startDeadlineAction":     {given: wrap(`{startDeadlineAction: Pause}`), refused: refusedAt("startDeadlineAction", `Unsupported value: "Pause": supported values: "Fail", "Skip"`)},
		"a progress deadline of 0":           {given: wrap(`{progressDeadlineSeconds: 0}`), refused: bound("progressDeadlineSeconds", "greater", 1)},
		"a cancel deadline of 0":             {given: wrap(`{cancelDeadlineSeconds: 0}`), refused: bound("cancelDeadlineSeconds", "greater", 1)},
		"10 retries of known failures":       {given: wrap(`{retries: {limit: 10, backoffSeconds: 0, statusCodes: ["17", "18"]}}`)},
		"11 retries":                         {given: wrap(`{retries: {limit: 11}}`), refused: bound("retries.limit", "less", 10)},
		"retries without limit":              {given: wrap(`{retries: {}}`), refused: refusedAt("retries.limit", "Required value")},
		"a backoff above a week":             {given: wrap(`{retries: {limit: 1, backoffSeconds: 604801}}`), refused: bound("retries.backoffSeconds", "less", 604800)},
		"retries of known messages":          {given: wrap(`{retries: {limit: 1, messages: ["disk <n> is full", "LastError: Compatible mismatch"]}}`)},
		"retries of codes and messages":      {given: wrap(`{retries: {limit: 1, statusCodes: ["17"], messages: ["disk <n> is full"]}}`)},
		"retries of a message with a number": {given: wrap(`{retries: {limit: 1, messages: ["disk 3 is full"]}}`), refused: refusedAt("retries.messages", "messages must be copied from status.failures[].message of the Rollout, where a number is written <n>")},
		"retries of an empty message":        {given: wrap(`{retries: {limit: 1, messages: [""]}}`), refused: refusedAt("retries.messages[0]", fmt.Sprintf("spec.%s.retries.messages[0] in body should be at least 1 chars long", at))},
		"retries of 51 messages":             {given: wrap(`{retries: {limit: 1, messages: ` + list(51, `"%d"`) + `}}`), refused: refusedAt("retries.messages", "Too many: 51: must have at most 50 items")},
		"retries of 51 codes":                {given: wrap(`{retries: {limit: 1, statusCodes: ` + list(51, `"%d"`) + `}}`), refused: refusedAt("retries.statusCodes", "Too many: 51: must have at most 50 items")},
		"a window at hour 25":                {given: window("0 25 * * *", "UTC"), refused: refusedAt("maintenanceWindow.schedule", cron)},
		"a window every night":               {given: window("0 2 * * *", "Europe/Berlin")},
		"a window with names of days":        {given: window("*/30 22-23 ? JAN-MAR SAT,SUN", "UTC")},
		"a time zone with two slashes":       {given: window("0 2 1 * *", "America/Argentina/Buenos_Aires")},
		"a time zone with a fixed offset":    {given: window("0 2 * * *", "Etc/GMT+3")},
		"a schedule of six fields":           {given: window("0 0 2 * * *", "UTC"), refused: refusedAt("maintenanceWindow.schedule", cron)},
		"a schedule of four fields":          {given: window("0 2 * *", "UTC"), refused: refusedAt("maintenanceWindow.schedule", cron)},
		"a schedule with CRON_TZ":            {given: window("CRON_TZ=Europe/Berlin 0 2 * * *", "UTC"), refused: refusedAt("maintenanceWindow.schedule", cron)},
		"a schedule by nickname":             {given: window("@daily", "UTC"), refused: refusedAt("maintenanceWindow.schedule", cron)},
		"the time zone Local":                {given: window("0 2 * * *", "Local"), refused: refusedAt("maintenanceWindow.timeZone", zone)},
		"a time zone by offset":              {given: window("0 2 * * *", "+02:00"), refused: refusedAt("maintenanceWindow.timeZone", zone)},
		"a time zone with dots":              {given: window("0 2 * * *", "../etc/passwd"), refused: refusedAt("maintenanceWindow.timeZone", zone)},
		"a window of a minute":               {given: wrap(`{maintenanceWindow: {schedule: "0 2 * * *", durationSeconds: 60}}`)},
		"a window of under a minute":         {given: wrap(`{maintenanceWindow: {schedule: "0 2 * * *", durationSeconds: 59}}`), refused: bound("maintenanceWindow.durationSeconds", "greater", 60)},
		"a window of over a week":            {given: wrap(`{maintenanceWindow: {schedule: "0 2 * * *", durationSeconds: 604801}}`), refused: bound("maintenanceWindow.durationSeconds", "less", 604800)},
	}
}

// timeForcedCases returns the cases of an update that may be TimeForced.
func timeForcedCases(at string, wrap func(update string) string) map[string]schemaCase {
	refused := fmt.Sprintf("spec.%s.forceAt: forceAt goes with type TimeForced, and only with it: give forceAt, or choose another type", at)
	return map[string]schemaCase{
		"TimeForced with its time":    {given: wrap(`{type: TimeForced, forceAt: "2026-12-01T02:00:00Z"}`)},
		"TimeForced without its time": {given: wrap(`{type: TimeForced}`), refused: refused},
	}
}

// selectionCases returns the cases of a selection of targets in a spec.
func selectionCases() map[string]schemaCase {
	const values = "spec.targetSelector.matchExpressions[0].values: values must be given with operator In or NotIn, and left out with Exists or DoesNotExist"
	const expression = "spec.targetExpression: targetExpression is no CEL expression: close every text, " +
		"and write == for equal, && for and, || for or"
	const bracket = "spec.targetExpression: targetExpression is no CEL expression: close every bracket"
	return map[string]schemaCase{
		"a selector by labels": {given: `{targetSelector: {matchLabels: {site: canary}, matchExpressions: [{key: hw, operator: In, values: [a, b]}]}}`},
		"an unknown operator": {given: `{targetSelector: {matchExpressions: [{key: hw, operator: Gt, values: ["1"]}]}}`,
			refused: `spec.targetSelector.matchExpressions[0].operator: Unsupported value: "Gt": supported values: "In", "NotIn", "Exists", "DoesNotExist"`},
		"65 expressions": {given: `{targetSelector: {matchExpressions: ` + list(65, "{key: k%d, operator: Exists}") + `}}`,
			refused: "spec.targetSelector.matchExpressions: Too many: 65: must have at most 64 items"},
		"a label's value that is too long": {given: `{targetSelector: {matchLabels: {site: ` + long(64) + `}}}`,
			refused: "spec.targetSelector.matchLabels.site: Too long: may not be more than 63 bytes"},
		"a label's value with a blank": {given: `{targetSelector: {matchLabels: {site: "a b"}}}`, refused: "spec.targetSelector.matchLabels.site: spec.targetSelector.matchLabels.site in body should match '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'"},
		"an empty label's value":       {given: `{targetSelector: {matchLabels: {site: ""}}}`},
		"a key with a prefix":          {given: `{targetSelector: {matchExpressions: [{key: example.com/Site_1, operator: Exists}]}}`},
		"a key that no label has": {given: `{targetSelector: {matchExpressions: [{key: "a b", operator: Exists}]}}`,
			refused: "spec.targetSelector.matchExpressions[0].key: spec.targetSelector.matchExpressions[0].key in body should match '^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'"},
		"In without values":                   {given: `{targetSelector: {matchExpressions: [{key: a, operator: In}]}}`, refused: values},
		"NotIn without values":                {given: `{targetSelector: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}`, refused: values},
		"Exists with values":                  {given: `{targetSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}`, refused: values},
		"an expression with two conditions":   {given: `{targetExpression: 'target.type == "a" && (target.hold || target.name != "b")'}`},
		"an expression with an open text":     {given: `{targetExpression: 'target.type == "a'}`, refused: expression},
		"an expression that assigns":          {given: `{targetExpression: 'target.type = "a"'}`, refused: expression},
		"an expression with an open [":        {given: `{targetExpression: 'target.type in ["a", "b"'}`, refused: bracket},
		"an expression with an open (":        {given: `{targetExpression: 'target.hold || (target.type == "a"'}`, refused: bracket},
		"an expression with an open {":        {given: `{targetExpression: 'target.type in {"a": 1'}`, refused: bracket},
		"an expression with one } too many":   {given: `{targetExpression: 'target.type in {"a": 1}}'}`, refused: bracket},
		"an open [ after a label's key":       {given: `{targetExpression: 'target.labels["example.com/site"'}`, refused: bracket},
		"a bracket in a text":                 {given: `{targetExpression: 'target.name == "gw-(1"'}`},
		"a bracket after an escaped quote":    {given: `{targetExpression: 'target.name == "\"(" + "\""'}`},
		"a bracket in a text of three quotes": {given: `{targetExpression: 'target.name == """a"b(" c"""'}`},
		"a bracket in a comment":              {given: `{targetExpression: 'target.hold // :-)'}`},
		"an expression of 1024 characters":    {given: `{targetExpression: ` + long(1024) + `}`},
		"an expression of 1025 characters":    {given: `{targetExpression: ` + long(1025) + `}`, refused: "spec.targetExpression: Too long: may not be more than 1024 bytes"},
		"an empty expression":                 {given: `{targetExpression: ""}`, refused: "spec.targetExpression: spec.targetExpression in body should be at least 1 chars long"},
	}
}
