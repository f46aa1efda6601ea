// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

const (
	// MinPollInterval is the shortest poll interval.
	MinPollInterval = time.Second
	// MaxPollInterval is the longest poll interval. DDI cannot express more.
	MaxPollInterval = 24*time.Hour - time.Second

	// maxPollRules and maxPollFile are the limits of a file of poll intervals.
	maxPollRules = 100
	maxPollFile  = 64 << 10
	// pollFileCheck is how often the file is read. The kubelet replaces a mounted ConfigMap within
	// about a minute.
	pollFileCheck = 10 * time.Second
)

// PollIntervals are poll intervals by the labels of Targets, from a file that may change. A file
// that cannot be used changes nothing: the last good one stays in effect.
type PollIntervals struct {
	file  string
	log   logr.Logger
	rules atomic.Pointer[[]pollRule]

	// content is what was read last, and fault what was wrong with it. Only load uses them.
	content []byte
	fault   string
}

// pollRule is one entry of the file.
type pollRule struct {
	selector labels.Selector
	interval time.Duration
}

// pollFile is the content of the file.
type pollFile struct {
	PollIntervals []struct {
		TargetSelector *metav1.LabelSelector `json:"targetSelector"`
		Interval       metav1.Duration       `json:"interval"`
	} `json:"pollIntervals"`
}

// NewPollIntervals reads the file. If it cannot be used there are no intervals until it can.
func NewPollIntervals(file string, log logr.Logger) *PollIntervals {
	p := &PollIntervals{file: file, log: log.WithValues("file", file)}
	p.rules.Store(&[]pollRule{})
	p.load()
	return p
}

// Run reads the file again when it has changed, until ctx ends.
func (p *PollIntervals) Run(ctx context.Context) error {
	return p.follow(ctx, pollFileCheck)
}

func (p *PollIntervals) follow(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.load()
		}
	}
}

// load reads the file, and takes its intervals if they can be used. It logs each change, and each
// new fault once.
func (p *PollIntervals) load() {
	content, err := readLimited(p.file, maxPollFile)
	if err == nil && p.content != nil && bytes.Equal(content, p.content) {
		return
	}
	var rules []pollRule
	if err == nil {
		p.content = content
		rules, err = parsePollRules(content)
	} else {
		p.content = nil
	}
	pollFileValid.WithLabelValues(p.file).Set(map[bool]float64{true: 1}[err == nil])
	if err != nil {
		if err.Error() != p.fault {
			p.fault = err.Error()
			p.log.Error(err, "The file of poll intervals cannot be used; the last good one stays in effect. Correct the file (--ddi-poll-intervals-file)", "rulesInEffect", len(*p.rules.Load()))
		}
		return
	}
	p.fault = ""
	p.rules.Store(&rules)
	p.log.Info("Poll intervals are in effect", "rules", len(rules))
}

// readLimited reads a file of at most the given number of bytes.
func readLimited(name string, most int64) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("the file is larger than %d bytes", most)
	}
	return content, nil
}

// parsePollRules reads the content of the file. The error names the entry and the fix.
func parsePollRules(content []byte) ([]pollRule, error) {
	var file pollFile
	if err := yaml.UnmarshalStrict(content, &file); err != nil {
		return nil, err
	}
	if file.PollIntervals == nil {
		return nil, errors.New("pollIntervals is missing: write a list, which may be empty ([])")
	}
	if n := len(file.PollIntervals); n > maxPollRules {
		return nil, fmt.Errorf("pollIntervals has %d entries, at most %d are allowed: combine some with matchExpressions", n, maxPollRules)
	}
	rules := make([]pollRule, len(file.PollIntervals))
	for i, entry := range file.PollIntervals {
		if entry.TargetSelector == nil {
			return nil, fmt.Errorf("pollIntervals[%d].targetSelector is missing: write a label selector; {} selects all targets", i)
		}
		selector, err := metav1.LabelSelectorAsSelector(entry.TargetSelector)
		if err != nil {
			return nil, fmt.Errorf("pollIntervals[%d].targetSelector: %w", i, err)
		}
		if d := entry.Interval.Duration; d < MinPollInterval || d > MaxPollInterval {
			return nil, fmt.Errorf("pollIntervals[%d].interval is %s: write %s to %s", i, d, MinPollInterval, MaxPollInterval)
		}
		rules[i] = pollRule{selector: selector, interval: entry.Interval.Duration}
	}
	return rules, nil
}

// of returns the interval of the first entry that selects the target, or usual if none does.
func (p *PollIntervals) of(t *v1alpha1.Target, usual time.Duration) time.Duration {
	if p == nil {
		return usual
	}
	for _, rule := range *p.rules.Load() {
		if rule.selector.Matches(labels.Set(t.Labels)) {
			return rule.interval
		}
	}
	return usual
}
