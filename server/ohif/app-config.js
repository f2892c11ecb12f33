// Settings of OHIF for this server: every address is on the server's own origin.
'use strict';

(function () {
  const PANEL = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithTools';
  const NOTICE = 'caclabel · for research use only, not for diagnosis or treatment';
  // Calcium begins at 130 HU; nothing in a CT is brighter than 3071 HU.
  const CALCIUM_HU = [130, 3071];
  const BRUSH_RADIUS_MM = 2;

  // The panel of MONAI Label takes its server from this cookie. A server on another port of
  // this host may have left its own, so it is set anew with each page.
  document.cookie =
    'MONAILABEL_SERVER_URL=' + encodeURIComponent(location.origin + '/') + '; path=/ohif; samesite=strict';

  function radius(id, toolNames) {
    return {
      id: id,
      name: 'Radius (mm)',
      type: 'range',
      min: 0.5,
      max: 30,
      step: 0.5,
      value: BRUSH_RADIUS_MM,
      commands: { commandName: 'setBrushSize', commandOptions: { toolNames: toolNames } },
    };
  }

  function shape(id, toolNames) {
    return {
      id: id,
      name: 'Shape',
      type: 'radio',
      value: toolNames[0],
      values: [
        { value: toolNames[0], label: 'Circle' },
        { value: toolNames[1], label: 'Sphere' },
      ],
      commands: 'setToolActiveToolbar',
    };
  }

  function hounsfieldRange(toolNames) {
    return {
      id: 'calcium-range',
      name: 'HU',
      type: 'double-range',
      min: -200,
      max: CALCIUM_HU[1],
      step: 1,
      value: CALCIUM_HU,
      commands: { commandName: 'setThresholdRange', commandOptions: { toolNames: toolNames } },
    };
  }

  function tool(id, label, icon, toolNames, moreOptions) {
    return {
      id: id,
      label: label,
      icon: icon,
      evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: toolNames },
      options: [radius(id + '-radius', toolNames), shape(id + '-shape', toolNames)].concat(moreOptions),
    };
  }

  const CALCIUM_TOOLS = ['ThresholdCircularBrush', 'ThresholdSphereBrush'];
  const SHAPE_TOOLS = ['CircleScissor', 'SphereScissor', 'RectangleScissor'];
  const BUTTONS = [
    {
      id: 'BrushTools',
      uiType: 'ohif.buttonGroup',
      props: {
        groupId: 'BrushTools',
        items: [
          tool('Calcium', 'Calcium brush', 'icon-tool-threshold', CALCIUM_TOOLS, [
            hounsfieldRange(CALCIUM_TOOLS),
          ]),
          tool('Brush', 'Brush', 'icon-tool-brush', ['CircularBrush', 'SphereBrush'], []),
          tool('Eraser', 'Eraser', 'icon-tool-eraser', ['CircularEraser', 'SphereEraser'], []),
        ],
      },
    },
    // The mode names this button, and its panel fails without it.
    {
      id: 'Shapes',
      uiType: 'ohif.radioGroup',
      props: {
        label: 'Shapes',
        icon: 'icon-tool-shape',
        evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: SHAPE_TOOLS },
        options: [
          {
            id: 'scissors',
            name: 'Shape',
            type: 'radio',
            value: SHAPE_TOOLS[0],
            values: SHAPE_TOOLS.map(function (name) {
              return { value: name, label: name.replace('Scissor', '') };
            }),
            commands: 'setToolActiveToolbar',
          },
        ],
      },
    },
  ];

  // The mode of MONAI Label has no way to edit or save what the panel brings: this extension
  // adds the panel of segmentations, whose menu exports to the server.
  const savingExtension = {
    id: 'caclabel.extension-saving',
    onModeEnter: function (context) {
      if (!location.pathname.endsWith('/monai-label')) {
        return;
      }
      const services = context.servicesManager.services;
      services.toolbarService.addButtons(BUTTONS);
      services.panelService.addPanel(services.panelService.PanelPosition.Right, PANEL);
    },
  };

  function notice(React) {
    return React.createElement(
      'div',
      { className: 'text-white', style: { fontSize: '13px', whiteSpace: 'nowrap' } },
      NOTICE
    );
  }

  window.config = {
    routerBasename: '/ohif/',
    showStudyList: true,
    extensions: [savingExtension],
    modes: [],
    showWarningMessageForCrossOrigin: true,
    showCPUFallbackMessage: false,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    useSharedArrayBuffer: 'FALSE',
    investigationalUseDialog: { option: 'always' },
    whiteLabeling: { createLogoComponentFn: notice },
    defaultDataSourceName: 'dicomweb',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'dicomweb',
        configuration: {
          friendlyName: 'Images of this server',
          name: 'caclabel',
          qidoRoot: '/proxy/dicom/qido',
          wadoRoot: '/proxy/dicom/wado',
          wadoUriRoot: '/proxy/dicom/wado',
          qidoSupportsIncludeField: true,
          supportsReject: false,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          dicomUploadEnabled: false,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})();
